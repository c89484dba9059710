"""The sections of the report: each turns findings into pieces of HTML, or into none."""
