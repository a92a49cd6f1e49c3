"""What torch does not know of: parameters of layers in plain lists and dictionaries, and views of parameters."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import SecateurError
from .ledger import Ledger
from .modules import NamedTensors
from .op_call import Call
from .reach import contents, is_atomic, is_hollow, walk

TABLES = {"_parameters", "_buffers", "_modules"}


class Unregistered:
    """The parameters that a network's modules hold without registering them, and what a forward pass does with them.

    Those that train are an error where they are used: no optimiser gets them, no file keeps them. Others freeze what
    they meet, as constants do. A stored view of a registered parameter is an error where it is used: copies can't
    follow it.
    """

    def __init__(self, model: nn.Module, own: NamedTensors) -> None:
        self._names, self._views = _names(model, own)
        self._held: list[Tensor] = []  # so that ids stay their own

    def meet(self, ledger: Ledger, call: Call) -> None:
        """Note one operation. Raises SecateurError where it uses such a parameter that trains, or a view of one."""
        for view in (self._views[id(x)] for x in call.tensors if id(x) in self._views) if self._views else ():
            raise SecateurError(f"forward reads {view}, which a copy would not follow; take the view in forward")
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


def _names(model: nn.Module, own: NamedTensors) -> tuple[dict[int, str], dict[int, str]]:
    """The attribute in which each unregistered parameter lies, and what each stored view is, by the tensor's id."""
    parameters, modules = {id(each): name for name, each in own.parameters.items()}, dict(model.named_modules())
    known = {*map(id, modules.values()), *parameters}

    def unknown(x: Any) -> list[Any]:
        return [each for each in contents(x) if id(each) not in known]

    names, views = dict[int, str](), dict[int, str]()
    for path, module in modules.items():
        for attribute, value in vars(module).items():
            if attribute in TABLES or is_atomic(type(value)) or is_hollow(value):
                continue
            for x in walk(value, unknown):
                where = f"{path}.{attribute}".strip(".")
                if isinstance(x, nn.Parameter) and id(x) not in known:
                    names.setdefault(id(x), where)
                elif isinstance(x, Tensor) and not x.is_leaf and id(x._base) in parameters:
                    views.setdefault(id(x), f"{where}, a view of {parameters[id(x._base)]}")
    return names, views
