"""Parameters that torch does not know of: those of layers in plain lists and dictionaries."""

from collections.abc import Sequence

from torch import Tensor, nn

from ...errors import SecateurError
from .ledger import Ledger
from .op_call import Call
from .reach import ATOMIC, contents, walk

TABLES = {"_parameters", "_buffers", "_modules"}


class Unregistered:
    """The parameters that a network's modules hold without registering them, and what a forward pass does with them.

    Those that train are an error where they are used: no optimiser gets them, no file keeps them. Others freeze what
    they meet, as constants do.
    """

    def __init__(self, model: nn.Module) -> None:
        self._names = _names(model)
        self._held: list[Tensor] = []  # so that ids stay their own

    def meet(self, ledger: Ledger, call: Call) -> None:
        """Note one operation. Raises SecateurError where it uses such a parameter that trains."""
        name = next((self._names[id(x)] for x in call.tensors if id(x) in self._names), None) if self._names else None
        if name is None:
            return
        if any(isinstance(x, nn.Parameter) and x.requires_grad and id(x) in self._names for x in call.tensors):
            raise SecateurError(
                f"forward uses layers in {name}, which are not registered, so that nothing trains or saves them; use "
                "nn.ModuleList or nn.ModuleDict"
            )
        labels = [each for x in call.tensors for each in ledger.labels(x)]
        ledger.freeze(labels, f"meets layers in {name}, which are not registered; use nn.ModuleList")
        if not labels:
            self._follow(call.results, name)

    def _follow(self, results: Sequence[object], name: str) -> None:
        """What is made of such parameters alone, a transposed weight for example, counts as one."""
        for each in results:
            if isinstance(each, Tensor):
                self._held.append(each)
                self._names[id(each)] = name


def _names(model: nn.Module) -> dict[int, str]:
    """The attribute in which each unregistered parameter lies, by the parameter's id."""
    known = {*map(id, model.modules()), *map(id, model.parameters())}
    names: dict[int, str] = {}
    for path, module in model.named_modules():
        filled = {name: x for name, x in vars(module).items() if name not in TABLES and not isinstance(x, ATOMIC)}
        for attribute, value in filled.items():
            if isinstance(value, (dict, set)) and not value:
                continue  # most hooks
            for x in walk(value, lambda x: [each for each in contents(x) if id(each) not in known]):
                if isinstance(x, nn.Parameter) and id(x) not in known:
                    names.setdefault(id(x), f"{path}.{attribute}".strip("."))
    return names
