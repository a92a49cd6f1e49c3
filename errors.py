"""The one error a user is meant to read."""


class SecateurError(ValueError):
    """What was asked cannot be done. The message says the fact, the value and the fix, in one line."""


def in_a_line(error: BaseException) -> str:
    """An error of somebody else's, its kind first, to stand in a message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
