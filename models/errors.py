"""The one error a user is meant to read."""


class SecateurError(ValueError):
    """What was asked cannot be done. The message says the fact, the value and the fix, in one line."""
