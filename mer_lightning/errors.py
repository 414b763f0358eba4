"""A user's mistake, and the files it can be about."""


class UserError(Exception):
    """Something the user can mend: the message says what, where, and what to do.

    Shown as one line, ``error: ...``, without a traceback.
    """
