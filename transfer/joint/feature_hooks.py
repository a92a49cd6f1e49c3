"""A network that can be asked what its modules read and made."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn


class FeatureHooks(nn.Module):
    """``model``, and what its modules of these names read and made in the last forward pass, with their graph.

    ``heard`` maps names to pairs of what was read and made, one for each call.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)
        self.captured: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the model answers."""
        self.captured.clear()
        hooks = [self.model.get_submodule(n).register_forward_hook(partial(self._capture, n)) for n in self.names]
        try:
            output: Tensor = self.model(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return output

    def _capture(self, name: str, _: nn.Module, inputs: Any, output: Any) -> None:
        self.captured.setdefault(name, []).append((inputs[0], output))
