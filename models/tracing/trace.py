"""Run a network once and follow every channel through it.

The forward pass runs on tensors without storage, in milliseconds; each operation, as torch dispatches it,
passes labels on by its rule. Whatever runs can be followed: functions, shared modules, concatenations.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from ...errors import SecateurError
from .atoms import Labels, Trace
from .eager import uncompiled
from .held_numbers import HeldNumbers
from .layout import POSITIONAL, Layout
from .liveness import Lifetimes
from .meta import empty_meta_like, meta_call
from .modules import NamedTensors, evaluating, own_tensors, tensors_in, with_tensors
from .op_call import Call, OpRule, counted_as
from .rules import OP_RULES, computes, is_product, rule_of
from .state import Snapshot
from .torch_layers import InitialStates, has_recurrent_layers, tie_attention
from .tracer_ledger import TracerLedger
from .unregistered import Unregistered

# Raised by a forward pass on an input that does not fit.
ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, AttributeError, NameError)


class OutputLabels(NamedTuple):
    """The shape of a module's output, () if it is no tensor, and its labels."""

    shape: tuple[int, ...]
    labels: Labels


def trace(
    model: nn.Module, *examples: Tensor, rules: Mapping[Any, OpRule] | None = None, layout: Layout = POSITIONAL
) -> Trace:
    """Follow the channels of ``model`` through one forward pass on ``examples`` (only their shapes matter).

    A forward that looks at values runs a second time, on the real tensors, and is followed there;
    where it left layers out, everything is frozen: they may read any channel. Layers that only training runs
    are followed there. ``rules``: operation → rule, beside those of ``OP_RULES`` or instead of them; see
    ``rules.py``. ``layout``: how the examples become arguments. The network, and all that it can reach, is as it was
    afterwards. Raises SecateurError where the network does not run on such inputs.

    >>> found = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)), torch.zeros(1, 3, 8, 8))
    >>> [(product.tensor, len(product.rows), len(product.columns)) for product in found.products]
    [('0.weight', 8, 3), ('1.weight', 5, 8)]
    """
    own, known = own_tensors(model), _with_custom(rules or {})
    if any(map(is_lazy, own.parameters.values())):
        raise SecateurError("the network has layers whose size is not known yet (lazy ones); run it once before")
    subject = _Subject(model, own, layout, Snapshot(model))
    light = {name: empty_meta_like(tensor) for name, tensor in own.all().items()}
    try:
        light_examples = [example.to("meta") for example in examples]
        follower = _Follower(subject, light, known)
        found = follower.evaluate(light_examples)
        return follower.train(light_examples) if follower.idle else found
    except SecateurError:
        raise
    except ERRORS:
        real = {name: tensor.detach().clone() for name, tensor in own.all().items()}  # forward may write to buffers
    try:
        follower = _Follower(subject, real, known)
        return _frozen_where_left_out(follower.evaluate(examples), follower.idle.values())
    except SecateurError:
        raise
    except ERRORS as error:
        shape = " and ".join("x".join(map(str, example.shape[1:])) for example in examples)
        raise SecateurError(
            f"the network does not run on an input of {shape} ({first_line(error)}); pass an example of another "
            "shape (1, channels, height, width), with --input on the command line"
        ) from error


def output_labels(model: nn.Module, *examples: Tensor, layout: Layout = POSITIONAL) -> dict[str, OutputLabels]:
    """What each module returns in one forward pass, by name, in the order in which they return.

    Only modules that return a single tensor, once. None where forward looks at values. Atoms are those of ``trace``.

    >>> found = output_labels(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)), torch.zeros(1, 3, 8, 8))
    >>> {name: output.shape for name, output in found.items()}
    {'0': (1, 8, 6, 6), '1': (1, 5, 6, 6), '': (1, 5, 6, 6)}
    """
    own = own_tensors(model)
    light = {name: empty_meta_like(tensor) for name, tensor in own.all().items()}
    watcher = _Watcher(_Subject(model, own, layout, Snapshot(model)), light, OP_RULES)
    with suppress(*ERRORS):
        watcher.evaluate([example.to("meta") for example in examples])
        return {name: each[0] for name, each in watcher.returned.items() if len(each) == 1 and each[0].shape}
    return {}


def first_line(error: Exception) -> str:
    """The message of an error, in one line; torch writes many."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _with_custom(rules: Mapping[Any, OpRule]) -> Mapping[Any, OpRule]:
    """The rules of all operations; one of the user's may be named by an overload of it."""
    return {**OP_RULES, **{getattr(operation, "overloadpacket", operation): rule for operation, rule in rules.items()}}


class _Subject(NamedTuple):
    """A network, its own tensors, how examples become the arguments of its forward, and what it was before any pass."""

    model: nn.Module
    own: NamedTensors
    layout: Layout
    before: Snapshot

    @contextmanager
    def replaced(self, others: Mapping[str, Tensor], training: bool = False) -> Iterator[nn.Module]:
        """The network on other tensors, in evaluation or in training; as it was afterwards."""
        model, own = self.model, self.own
        with self.before.kept(), evaluating(model, training), with_tensors(model, own, others), uncompiled():
            yield model


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Sees every operation of a network's forward passes, and labels its results.

    ``others`` stand in for the own tensors of the network. ``idle``: the parameters that no operation has read yet, by
    id. ``uncounted``: how often operations ran that compute something which costs do not count.
    """

    def __init__(self, subject: _Subject, others: Mapping[str, Tensor], rules: Mapping[Any, OpRule]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.subject, self.others, self.rules = subject, others, rules
        self.ledger, self.lifetimes = TracerLedger(HeldNumbers(subject.model)), Lifetimes(others.values())
        self.idle = {id(others[name]): name for name in subject.own.parameters}
        self.uncounted = Counter[str]()
        self.unregistered = Unregistered(subject.model, subject.own)
        for name, tensor in others.items():
            self.ledger.enter(name, tensor, is_parameter=name in subject.own.parameters)
        for name, buffer in subject.own.buffers.items():
            self.ledger.know(name, buffer)
        tie_attention(self.ledger, subject.model, {id(own): others[name] for name, own in subject.own.all().items()})

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = meta_call(func, args, kwargs)
        call = Call.of(func, args, kwargs, output)
        self.ledger.begin(counted_as(func.overloadpacket), call.tensors)
        for x in call.tensors:
            self.idle.pop(id(x), None)
        self.unregistered.meet(self.ledger, call)
        if is_product(func) or any(self.ledger.labels(x) for x in call.tensors):
            self._label(call, self.ledger.follow(rule_of(func, self.rules), call))
        if call.tensors and computes(func):
            self.uncounted[call.name] += 1
        self.lifetimes.step(self.ledger, call.tensors, [x for x in call.results if isinstance(x, Tensor)])
        return output

    def _label(self, call: Call, labels: Sequence[Labels]) -> None:
        if len(labels) != len(call.results):
            raise SecateurError(
                f"the rule of {call.name} returned labels for {len(labels)} results of {len(call.results)}; "
                "return a list of labels for each result"
            )
        for result, each in zip(call.results, labels, strict=True):
            self.ledger.put(result, each)

    def evaluate(self, examples: Sequence[Tensor]) -> Trace:
        """The trace of an evaluating pass."""
        self.lifetimes.step(self.ledger, [], examples)
        with self.subject.replaced(self.others):
            outputs = self._run(examples)
        self.lifetimes.step(self.ledger, outputs, [])
        return self._trace()

    def train(self, examples: Sequence[Tensor]) -> Trace:
        """The same with the ties and frozen channels of a training pass; costs stay those of evaluation."""
        before = self._trace()
        pairs = [torch.cat([each, each]) for each in examples]  # two images, since one has no variance
        with self.subject.replaced(self.others, training=True), suppress(*ERRORS):
            self._run(pairs)
        costs = {name: getattr(before, name) for name in ("products", "reductions", "activations", "uncounted")}
        return replace(self._trace(), **costs)

    def _run(self, examples: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of one pass, which can't be narrowed."""
        states = InitialStates(self.ledger) if has_recurrent_layers(self.subject.model) else nullcontext()
        with torch.no_grad(), states, self:
            output = self.subject.layout.run(self.subject.model, examples)
        outputs = tensors_in(output)
        self.ledger.use(outputs)
        for each in outputs:
            self.ledger.freeze(self.ledger.labels(each), "is an output of the network")
        return outputs

    def _trace(self) -> Trace:
        return replace(self.ledger.close(), activations=tuple(self.lifetimes.all()), uncounted=dict(self.uncounted))


class _Watcher(_Follower):  # type: ignore[no-untyped-call]  # as above
    """Also notes what every module returns, call by call."""

    def __init__(self, subject: _Subject, others: Mapping[str, Tensor], rules: Mapping[Any, OpRule]) -> None:
        super().__init__(subject, others, rules)
        self.returned: dict[str, list[OutputLabels]] = {}

    def _run(self, examples: Sequence[Tensor]) -> list[Tensor]:
        modules = self.subject.model.named_modules()
        hooks = [module.register_forward_hook(partial(self._note, name)) for name, module in modules]
        try:
            return super()._run(examples)
        finally:
            for hook in hooks:
                hook.remove()

    def _note(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        order = self.returned.pop(name, [])  # the last call decides the order
        self.returned[name] = [*order, OutputLabels(shape, self.ledger.labels(output))]


def _frozen_where_left_out(found: Trace, idle: Iterable[str]) -> Trace:
    """The trace of a forward that looks at values: a layer that it left out may read any channel."""
    for name in islice(idle, 1):
        reason = f"may be read by {name}: forward looks at values and left it out"
        found = replace(found, frozen=(*found.frozen, *((made, reason) for made in found.made)))
    return found
