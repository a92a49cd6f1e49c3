"""How networks are called in tables."""

TITLES = {"teacher": "teacher", "dense": "dense", "pruned": "only pruned", "tuned": "fine-tuned"}


def title_of(name: str, untrained: bool) -> str:
    """The title of a row; a dense network that has no training is called so, and another point by its own name."""
    return "untrained" if name == "dense" and untrained else TITLES.get(name, name)
