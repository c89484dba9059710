"""The error that a user can mend, and how a search ends a trial."""


class UserError(Exception):
    """A user's mistake: one line that names the thing, its value and the remedy.

    Every command prints the line without a traceback and exits with status 2.
    """


class Pruned(Exception):
    """A trial of a search ends here: others were better at this epoch. No error."""
