"""A second pass through a network that spares the children whose part the first pass has settled."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .atoms import Atoms

Forward: TypeAlias = Callable[..., Any]
Made: TypeAlias = dict[tuple[str, int], tuple[Tensor, Tensor]]  # of a child and what it was given: that, and its output


@contextmanager
def noted(model: nn.Module) -> Iterator[Made]:
    """Notes what each child of ``model`` makes of one tensor, where it makes one tensor of it."""
    made: Made = {}

    def noting(name: str, forward: Forward) -> Forward:
        def note(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            if _one(args, kwargs) and isinstance(output, Tensor):
                made[name, id(args[0])] = args[0], output
            return output

        return note

    with _each_child(model, [name for name, _ in model.named_children()], noting):
        yield made


@contextmanager
def replayed(
    model: nn.Module, spared: Collection[str], atoms: Atoms, made: Made
) -> Iterator[Callable[[Sequence[Tensor]], list[Tensor]]]:
    """Yields what makes two images of one; given two, a spared child returns what it made of the one, doubled.

    Its output bears the labels that it bore. A child that is given anything else runs.
    """
    halves: dict[int, Tensor] = {}

    def doubled(one: Tensor) -> Tensor:
        two = torch.empty((2 * len(one), *one.shape[1:]), dtype=one.dtype, device="meta")
        atoms.put(two, atoms.of(one))  # which holds it, so that its id stays its own
        halves[id(two)] = one
        return two

    def sparing(name: str, forward: Forward) -> Forward:
        def spare(*args: Any, **kwargs: Any) -> Any:
            one = halves.get(id(args[0])) if _one(args, kwargs) else None
            found = made.get((name, id(one)))
            return doubled(found[1]) if found and found[1].shape[:1] == (1,) else forward(*args, **kwargs)

        return spare

    with _each_child(model, spared, sparing):
        yield lambda examples: [doubled(each) for each in examples]


@contextmanager
def _each_child(model: nn.Module, names: Collection[str], around: Callable[[str, Forward], Forward]) -> Iterator[None]:
    """These children with another forward, and as they were afterwards."""
    children = [(name, child, child.__dict__.get("forward")) for name, child in model.named_children() if name in names]
    try:
        for name, child, _ in children:
            child.__dict__["forward"] = around(name, child.forward)
        yield
    finally:
        for _, child, own in children:
            child.__dict__.update(forward=own) if own else child.__dict__.pop("forward")


def _one(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    return len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
