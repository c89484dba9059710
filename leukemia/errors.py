"""The error that a user can mend."""


class UserError(Exception):
    """A user's mistake: one line that names the thing, its value and the remedy.

    Every command prints the line without a traceback and exits with status 2.
    """
