"""A network that records what its modules read and made."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn


class FeatureHooks(nn.Module):
    """``model``, and the inputs and outputs of its modules of these names in the last forward pass, with their graph.

    ``captured`` maps names to pairs of input and output, one for each call.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)
        self.captured: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def forward(self, *inputs: Tensor) -> Tensor:
        """The model's output."""
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
