"""The weights that a student starts from: those of the trained network, or drawn again."""

import torch
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.supernet import Supernet
from ...models.tracing.modules import named_tensors
from ...seeds import random_streams

FRESH, TRAINED = STARTS = ("fresh", "trained")


def require_start(start: str) -> None:
    """Raise SecateurError for a start that does not exist.

    >>> require_start("fresh")
    """
    if start not in STARTS:
        raise SecateurError(f"a student cannot start from {start!r} weights; pass {' or '.join(STARTS)}")


def draw_again(model: nn.Module, seed: int) -> None:
    """Draw all parameters and running statistics again, in place, by each module's ``reset_parameters``.

    That is how torch initialises its layers; what a network's constructor changed afterwards is not repeated.

    Args:
        model: The network.
        seed: Decides the draw; the global random state stays as it was.

    Raises:
        SecateurError: A module has parameters and no ``reset_parameters``.

    >>> layer = nn.Linear(2, 2)
    >>> before = layer.weight.clone()
    >>> draw_again(layer, seed=0)
    >>> bool((layer.weight == before).any())
    False
    """
    with random_streams(seed):
        for name, module in model.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
            elif any(parameter is not None for parameter in module._parameters.values()):
                raise SecateurError(
                    f"{name or 'the network'} has parameters and no reset_parameters, so it cannot start fresh; "
                    "add one to its class, or pass --from trained"
                )


def filter_norms(net: Supernet) -> list[Tensor]:
    """The L2 norm of what makes each channel of each group, over all its layers: the importance of trained channels.

    Shape: → (width,) each

    >>> import secateur as sc
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    >>> filter_norms(net)[0].shape
    torch.Size([16])
    """
    tensors = named_tensors(net.model)
    found = []
    for group in net.groups:
        squares = torch.zeros(group.width)
        for member in group.members:
            weight = tensors[member.tensor].detach().float().cpu()
            if weight.ndim > 1 and not member.reads:
                lines = weight.movedim(member.dim, 0).flatten(1).square().sum(1)
                squares.index_add_(0, torch.from_numpy(member.channels), lines[torch.from_numpy(member.places)])
        found.append(squares.sqrt())
    return found
