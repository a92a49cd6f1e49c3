"""What the name of a network says before anything is imported for it."""

from ...errors import SecateurError

LIBRARIES = ("torchvision", "timm")
PYTHON = "python:"  # before the kind of a network, or the name of data, that was passed to a search in Python
OURS = {"resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "mobilenetv2"} | {
    f"vgg{layers}_bn" for layers in (11, 13, 16, 19)
}  # of this package


def is_code(name: str) -> bool:
    """Whether it is the place of a function, ``path/to/file.py:function`` or ``package.module:function``."""
    return name.partition(":")[0] not in LIBRARIES and (":" in name or name.endswith(".py"))


def is_python(name: str) -> bool:
    """Whether it stands for an object that was passed to a search in Python."""
    return name.startswith(PYTHON)


def is_pretrained(name: str) -> bool:
    """Whether the network comes with weights of its library: ``torchvision:resnet50@DEFAULT``."""
    return name.partition(":")[0] in LIBRARIES and "@" in name


def untrained(name: str) -> str:
    """The same network without the weights of its library."""
    return name.partition("@")[0] if is_pretrained(name) else name


def require_no_code(name: str, place: object) -> None:
    """Raise SecateurError for a network of somebody's code that a file names: it is run only where a user types it."""
    if is_python(name):
        raise SecateurError(f"{place} is of a network that was passed in Python; pass --model path/to/file.py:function")
    if is_code(name):
        raise SecateurError(
            f"{place} names the code {name}, and what a file names is not run; if you trust it, type it: --model {name}"
        )
