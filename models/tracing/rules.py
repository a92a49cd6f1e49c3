"""The rule of every operation that the tracer knows: how its results get their labels.

A rule takes the ledger and the call, as it ran, and returns the labels of each result, a list for each. It writes
into the ledger how the operation treats channels: it ties those that meet, notes which ones a layer makes and
which a weight reads, and freezes those that can't be removed. An operation without a rule freezes its inputs.
A rule for an operation of your own is passed to ``trace`` or ``Supernet.of``:

>>> import torch, secateur as sc
>>> @torch.library.custom_op("secateur_doc::halve", mutates_args=())
... def halve(x: torch.Tensor) -> torch.Tensor:
...     return x / 2
>>> _ = halve.register_fake(torch.empty_like)
>>> class Net(torch.nn.Module):
...     def __init__(self):
...         super().__init__()
...         self.stem, self.head = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 5, 1)
...     def forward(self, x):
...         return self.head(halve(self.stem(x)))
>>> image = torch.zeros(1, 3, 8, 8)
>>> sc.Supernet.of(Net(), image).groups  # halve has no rule
()
>>> def keeps_channels_apart(ledger, call):
...     return [ledger.labels(call.args[0])]  # the channels of the result are those of the input
>>> net = sc.Supernet.of(Net(), image, rules={torch.ops.secateur_doc.halve: keeps_channels_apart})
>>> [(group.name, group.width) for group in net.groups]
[('stem', 8)]
"""

from collections.abc import Mapping
from typing import Any

import torch

from .computed_rules import COMPUTED_RULES
from .norm_rules import batch_norm, choice, group_norm, layer_norm, reduction, softmax
from .op_call import AVERAGES, BATCH_NORMS, INNER_PRODUCTS, MATRIX_PRODUCTS, PRODUCTS, SUMS, OpRule, aten
from .pointwise_rules import dropout, factory, glu, pointwise, unknown
from .product_rules import convolution, deformable, inner_product, matmul
from .space_rules import SPACE_RULES
from .view_rules import VIEW_RULES
from .write_rules import write

COPIES = [aten._to_copy, aten.fill_, aten.zero_, aten.zeros_like, aten.ones_like, aten.empty_like]
MAKES = [aten.new_zeros, aten.new_ones, aten.new_empty, aten.new_full]
OP_RULES: dict[Any, OpRule] = {
    **VIEW_RULES,
    **SPACE_RULES,
    **COMPUTED_RULES,
    aten.convolution: convolution,
    **dict.fromkeys(MATRIX_PRODUCTS, matmul),
    **dict.fromkeys(INNER_PRODUCTS, inner_product),
    aten.native_layer_norm: layer_norm,
    aten.native_group_norm: group_norm,
    aten.glu: glu,
    aten.copy_: write,
    **dict.fromkeys(AVERAGES | SUMS, reduction),
    **dict.fromkeys([aten.argmax, aten.argmin], choice),
    **dict.fromkeys([aten._softmax, aten._safe_softmax, aten._log_softmax], softmax),
    **dict.fromkeys([*COPIES, aten.hardswish, aten.hardswish_, aten.mish_, aten._prelu_kernel], pointwise),
    **dict.fromkeys(MAKES, factory),
    **dict.fromkeys([aten.native_dropout, aten.bernoulli, aten.bernoulli_], dropout),
    **dict.fromkeys(BATCH_NORMS, batch_norm),
}  # fmt: skip
NAMED_RULES: dict[str, OpRule] = {"torchvision.deform_conv2d": deformable}  # of libraries that may be missing
IDLE = {*PRODUCTS, *VIEW_RULES, *COPIES, aten.copy_, *MAKES}  # operations that compute nothing, or that costs count


def rule_of(func: Any, rules: Mapping[Any, OpRule] = OP_RULES) -> OpRule:
    """The rule of an operation: its own, that of all pointwise ones, or freezing."""
    if func.overloadpacket in rules:
        return rules[func.overloadpacket]
    named = NAMED_RULES.get(str(func.overloadpacket))
    return named or (pointwise if torch.Tag.pointwise in func.tags else unknown)


def is_product(func: Any) -> bool:
    """Whether an operation multiplies and accumulates, which costs count."""
    return func.overloadpacket in PRODUCTS or str(func.overloadpacket) in NAMED_RULES


def computes(func: Any) -> bool:
    """Whether an operation computes anything that costs do not count."""
    return func.overloadpacket not in IDLE and not is_product(func)
