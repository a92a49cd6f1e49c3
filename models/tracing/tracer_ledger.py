"""The ledger as the tracer keeps it: it also enters tensors, follows operations and closes."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from .atoms import IntArray, Labels, Trace, lay
from .components import connected_components
from .held_numbers import NOTHING_HELD, HeldNumbers
from .ledger import Ledger
from .op_call import Call, OpRule
from .product_rules import reads_table


class TracerLedger(Ledger):
    """The ledger as the tracer keeps it, who also enters tensors, labels results and closes it."""

    def __init__(self, held: HeldNumbers = NOTHING_HELD) -> None:
        super().__init__(held)
        self._tensors: dict[str, list[IntArray]] = {}
        self._ran = Counter[str]()
        self._factors: set[str] = set()  # tensors that weights are computed of
        self._alike: list[tuple[IntArray, IntArray]] = []  # ties of places that a computed weight puts together
        self._parameters: set[str] = set()

    def enter(self, name: str, tensor: Tensor, is_parameter: bool) -> None:
        """Give a parameter or buffer its atoms: fresh ones along every dimension."""
        self._names.append(name)
        self._first.append(self._count)
        along = []
        for size in tensor.shape:
            along.append(np.arange(self._count, self._count + size))
            self._count += size
        if is_parameter:
            self._parameters.add(name)
        else:
            self._tables[id(tensor)] = tensor
        self._tensors[name] = along
        laid = along if len(along) == 1 else [lay(each, d, len(along)) for d, each in enumerate(along)]
        self.put(tensor, [each for each in laid if each.size > 1])
        self._weights.add(id(tensor))

    def know(self, name: str, buffer: Tensor) -> None:
        """The values of a buffer that may hold places: whole numbers in one dimension."""
        if buffer.ndim == 1 and buffer.dtype in (torch.int64, torch.int32) and not buffer.is_meta:
            self._numbers[name] = buffer.detach().cpu().numpy().astype(np.int64)

    def begin(self, call: str, tensors: Iterable[Tensor]) -> None:
        """The operation of this name runs now, on these tensors."""
        self._operation = call, self._ran[call]
        self._ran[call] += 1
        if self._guarded:
            self.use(tensors)

    def use(self, tensors: Iterable[Tensor]) -> None:
        """These tensors are inputs of an operation or outputs of the network."""
        for each in tensors:
            if id(each) in self._guarded:
                _, atoms, reason = self._guarded[id(each)]
                self.freeze([atoms], reason)

    def follow(self, rule: OpRule, call: Call) -> list[Labels]:
        """The labels of a call's results, by its rule; what comes of weights alone is a weight."""
        before = len(self._ties)
        labels = rule(self, call)
        if self._are_numbers_beside(call, self.is_table):
            self._tables |= {id(x): x for x in call.results if isinstance(x, Tensor)}
        if self._are_numbers_beside(call, self.is_weight) and not reads_table(self, call):
            self._alike += self._ties[before:]
            made = {id(x): x for x in call.results if not self.is_parameter(x)}
            self._computed |= made
            self._factors |= {self.owner(int(e.flat[0])) for x in call.tensors for e in self.labels(x)[:1] if made}
        return labels

    def _are_numbers_beside(self, call: Call, kind: Callable[[Tensor], bool]) -> bool:
        """Whether its arguments are of this kind, beside numbers."""
        others = (x.ndim == 0 and not self.labels(x) for x in call.tensors if not kind(x))
        return any(map(kind, call.tensors)) and all(others)

    def _consumed(self) -> list[IntArray]:
        """The places that weights sum over, and those of the tensors that such a weight is computed of."""
        if not self._alike or not self._read:
            return self._read
        root = connected_components(self._count, self._alike)
        reads = np.zeros(self._count, np.bool_)
        reads[root[np.concatenate(self._read)]] = True
        return [*self._read, np.flatnonzero(reads[root] & (np.bincount(root, minlength=self._count)[root] > 1))]

    def close(self) -> Trace:
        """The trace so far; it holds no tensor of the forward pass."""
        return Trace(
            count=self._count,
            tensors=dict(self._tensors),
            parameters=frozenset(self._parameters),
            ties=tuple(self._ties),
            factors=frozenset(self._factors),
            made=tuple(self._made),
            read=tuple(self._consumed()),
            summed=tuple(self._summed),
            normed=tuple(self._normed),
            reductions={k: tuple(each) for k, each in self._reductions.items()},
            frozen=tuple(self._frozen),
            products=tuple(self._products),
            cuts=tuple(self._cuts),
            pointers=dict(self._pointers),
        )
