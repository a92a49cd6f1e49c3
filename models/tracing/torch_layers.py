"""What torch's own attention and recurrent layers demand of their tensors, beyond what their operations show."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .atoms import IntArray, lay
from .ledger import Ledger

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
CELLS = frozenset({f"{name}_cell" for name in RECURRENT})


def has_recurrent_layers(model: nn.Module) -> bool:
    """Whether a network runs recurrent layers of torch."""
    return any(isinstance(each, (nn.RNNBase, nn.RNNCellBase)) for each in model.modules())


def tie_attention(ledger: Ledger, model: nn.Module, others: Mapping[int, Tensor]) -> None:
    """Tie what each ``nn.MultiheadAttention`` reads to its queries, keys and values, which it makes equally many.

    ``others``: what stands in for a parameter, by the parameter's id.
    """
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            packed, apart = module.in_proj_weight, (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
            own = [*([packed] if packed is not None else apart), module.in_proj_bias]
            query, *more = [others[id(each)] for each in own if each is not None]
            stream = ledger.along(query, 1)
            for made in (ledger.along(each, 0) for each in (query, *more)):
                if stream is not None and made is not None:
                    ledger.tie(stream[None], made.reshape(-1, len(stream)))


class InitialStates(TorchFunctionMode):
    """Labels the states that recurrent layers begin with, which forward makes as wide as the layer is.

    A layer has one width, so that channel i of all its directions and layers lives or dies together.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in RECURRENT and isinstance(args[2], (list, tuple)):  # else a packed sequence
            self._begin(args[1], args[2])
        elif name in CELLS:
            self._begin(args[1], args[2:])
        with _in_steps() if name in RECURRENT else nullcontext():
            return func(*args, **(kwargs or {}))

    def _begin(self, state: Any, weights: Sequence[Tensor]) -> None:
        """Label states without labels by the columns of the weights that read them; learnt ones have theirs."""
        states = [state] if isinstance(state, Tensor) else state
        for each in states:
            if not self.ledger.labels(each) and (atoms := self._columns(weights[1:], each.shape[-1])) is not None:
                self.ledger.put(each, [lay(atoms, each.ndim - 1, each.ndim)])
            elif not isinstance(each, nn.Parameter):
                self.ledger.let_vary(each)

    def _columns(self, weights: Sequence[Any], width: int) -> IntArray | None:
        """The labels along the columns of the first of these weights that has so many."""
        weight = next((w for w in weights if w is not None and w.ndim == 2 and w.shape[1] == width), None)
        return None if weight is None else self.ledger.along(weight, 1)


@contextmanager
def _in_steps() -> Iterator[None]:
    """Layers run as the operations that rules know, not as one kernel."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)
