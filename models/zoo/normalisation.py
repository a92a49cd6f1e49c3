"""How the channels of images are normalised for a network."""

from typing import Any, NamedTuple, TypeAlias

from ...errors import SecateurError

Channels: TypeAlias = tuple[float, float, float]

MEAN: Channels = (0.485, 0.456, 0.406)  # ImageNet's, of channels in 0..1
STD: Channels = (0.229, 0.224, 0.225)
LEVELS = 255  # of pixels, of which some publish their statistics


class Normalisation(NamedTuple):
    """Mean and standard deviation of the channels, which are in 0..1."""

    mean: Channels = MEAN
    std: Channels = STD


class Crop(NamedTuple):
    """How a picture of another size is read: scaled until the ``share`` of its shorter side fits, then cropped to that.

    ``interpolation``: bilinear, bicubic, nearest, ..., as torchvision calls them.
    """

    share: float = 1.0
    interpolation: str = "bilinear"


IMAGENET, WHOLE = Normalisation(), Crop()


def normalisation_of(name: str) -> Normalisation:
    """What the network of this name is trained with: what timm says of its own, and else ImageNet's.

    >>> normalisation_of("timm:vit_tiny_patch16_224").mean
    (0.5, 0.5, 0.5)
    """
    theirs = _timm(name)
    if theirs is None:
        return IMAGENET
    (r, g, b), (sr, sg, sb) = theirs.mean, theirs.std
    return Normalisation((r, g, b), (sr, sg, sb))


def crop_of(name: str) -> Crop:
    """How pictures are cropped for the network of this name: as timm says of its own, and else whole.

    >>> crop_of("timm:vit_tiny_patch16_224")
    Crop(share=0.9, interpolation='bicubic')
    """
    theirs = _timm(name)
    return WHOLE if theirs is None else Crop(float(theirs.crop_pct or 1), theirs.interpolation or "bilinear")


def _timm(name: str) -> Any:
    """What timm says of the network of this name; None where it is none of timm's, or timm is not there."""
    library, _, rest = name.partition(":")
    if library != "timm":
        return None
    try:
        import timm
    except ImportError:  # which is said where the network is built
        return None
    return timm.get_pretrained_cfg(rest.partition("@")[0])


def require_normalised(mean: Channels | None, std: Channels | None) -> None:
    """Raise SecateurError for statistics that can't be those of channels in 0..1."""
    for name, values in (("mean", mean), ("std", std)):
        if values and max(values) > 1:
            right = " ".join(f"{value / LEVELS:.4g}" for value in values)
            raise SecateurError(f"{name}={values} is of pixels in 0..{LEVELS}; pass those of 0..1: {right}")
    if std and min(std) <= 0:
        raise SecateurError(f"std={std}; pass the standard deviation of each channel, above 0")
