"""A campaign of faults: `python -m campaign` kills, damages and fuzzes, and counts what it finds."""
