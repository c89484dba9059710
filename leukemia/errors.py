"""The error that a user can mend, and how a search ends a trial."""

from leukemia.text import visible


class UserError(Exception):
    """A user's mistake: one line that names the thing, its value and the remedy.

    Every command prints the line without a traceback and exits with status 2. Names in it may be
    anything: the line is stored as `visible` shows it, so that it is one line whatever they hold.
    """

    def __init__(self, line: str) -> None:
        """Store the line."""
        super().__init__(visible(line))


class Pruned(Exception):
    """A trial of a search ends here: others were better at this epoch. No error."""
