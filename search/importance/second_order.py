"""Second-order importance: the rise of the loss when channels are removed and their readers are refitted.

Block optimal brain surgeon (Hassibi and Stork 1992; Kurtic et al. 2022, https://arxiv.org/abs/2203.07259) on the Grams
of closed-form compensation. With H = G⁻¹ of a layer's input and w_o its current weights, removing the columns c
and refitting the others raises the squared error of output o by w_oc (H_cc)⁻¹ w_ocᵀ, exactly; H and the
weights are then updated with rank |c|.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.compensation.gram import Gram, grams
from ...models.compensation.ridge import RIDGE
from ...models.evaluate import device_of
from ...models.inputs import call, each_tensor, moved
from ...models.split import Batch, Split
from ...models.supernet import Supernet
from ...models.tasks.task import Task
from ...models.tracing.atoms import FloatArray, IntArray
from ...models.tracing.groups import ChannelGroup, Member
from ...models.tracing.modules import evaluating
from ...models.tracing.op_call import Call, aten
from ...models.tracing.weight_reads import MatrixRead, WeightRead, WeightReadRecorder, as_matrix
from .scores import Scores

IMAGES = 1000
BATCH = 250
STEPS = 64  # of a group's elimination; wider groups lose several channels a step


@dataclass(frozen=True, eq=False)
class Elimination:
    """One group's channels in the order of their removal, the best last, and the rise of the loss.

    ``order``: the channels as they are removed. ``curve[w]``: the rise of the loss (nats, to second order) when the
    best w channels stay, the rest of the network dense; curve[width] = 0. ``left_out``: layers that read the group
    and are not counted, since their Gram or their gradient is not known.

    Shape: order (width,), curve (width + 1,)
    """

    order: IntArray
    curve: FloatArray
    left_out: tuple[str, ...]

    @property
    def scores(self) -> FloatArray:
        """The rise of the loss at which each channel is removed. Shape: → (width,)"""
        score = np.empty(len(self.order))
        score[self.order] = self.curve[:-1][::-1]
        return score


@dataclass(eq=False)
class _Block:
    """The state of one reading layer, or of one block of its columns, while channels are removed.

    Shape: inverse H (groups, d, d), weights (groups, made, d), fisher (groups, made), columns of each channel and
    which of them are meant (channels, m)
    """

    inverse: Tensor
    weights: Tensor
    fisher: Tensor
    columns: Tensor
    meant: Tensor

    def errors(self, alive: Tensor) -> Tensor:
        """The error that the removal of each channel would add. Shape: alive (channels,) → (channels,)"""
        meant = self.meant & alive[:, None]
        both = meant[:, :, None] & meant[:, None]
        among = self.inverse[:, self.columns[:, :, None], self.columns[:, None]]  # (groups, channels, m, m)
        among = torch.where(both, among, torch.eye(meant.shape[1]).to(among))
        weights = torch.where(meant, self.weights[:, :, self.columns], 0).permute(0, 2, 3, 1)  # (groups, C, m, made)
        squares: Tensor = (torch.linalg.solve(among, weights) * weights).sum(2)  # (groups, channels, made)
        return (squares * self.fisher[:, None]).sum((0, 2))

    def remove(self, channels: Tensor) -> float:
        """Remove these channels together and refit. Returns the error that this adds."""
        at = self.columns[channels][self.meant[channels]]
        weights = self.weights[:, :, at]
        change = torch.linalg.solve(self.inverse[:, at][:, :, at], self.inverse[:, at])  # (groups, |at|, d)
        solved = torch.linalg.solve(self.inverse[:, at][:, :, at], weights.mT)  # (groups, |at|, made)
        self.weights = self.weights - weights @ change
        self.inverse = self.inverse - self.inverse[:, :, at] @ change
        self.inverse[:, at], self.inverse[:, :, at], self.weights[:, :, at] = 0, 0, 0
        return float(((solved.mT * weights).sum(-1) * self.fisher).sum())


def obs(net: Supernet, split: Split) -> Scores:
    """The rise of the loss at which a channel is removed, when its group loses one channel after the other."""
    return [each.scores for each in eliminations(net, grams(net, split), fisher(net, split))]


def eliminations(
    net: Supernet, known: Mapping[str, Gram], gradients: Mapping[str, Tensor], ridge: float = RIDGE
) -> list[Elimination]:
    """Every group's elimination by itself; where several layers read a group, their errors add up."""
    statistics = _Statistics(known, gradients, ridge)
    return [_eliminate(net, group, statistics) for group in net.groups]


def fisher(net: Supernet, split: Split, images: int = IMAGES) -> dict[str, Tensor]:
    """Of each output channel of each weight: its gradient summed over places, squared; the mean over images.

    Of the task's loss, with the dense network's running statistics. Half of it times the squared error of an
    output is the rise of the loss, to second order, where the errors at an image's places are alike. (Squares
    summed over places, for errors that are not, gave far worse widths: the last layers seem to cost nothing.)

    Shape: weight → (made,)
    """
    totals: dict[str, Tensor] = {}
    count = 0
    for batch in split.batches(BATCH, images):
        for name, gradient in _output_gradients(net, batch, split.task):
            squares = gradient.double()[..., None].flatten(2).sum(2).square().sum(0)
            totals[name] = totals.get(name, torch.zeros_like(squares)) + squares
        count += len(batch.indices)
    return {name: total / count for name, total in totals.items()}


def _output_gradients(net: Supernet, batch: Batch, task: Task) -> Iterator[tuple[str, Tensor]]:
    """Each weight that is read, and the gradient of the summed loss by its output, channels second."""
    made = _Outputs()
    x, labels, _ = moved(batch, device_of(net.model))
    x = each_tensor(_differentiable, x)  # so that frozen weights have gradients behind them
    with evaluating(net.model), torch.enable_grad():
        with WeightReadRecorder(dict(net.model.named_parameters()), after=made.add, each=made.restore):
            loss = task.loss(call(net.model, x), labels).sum()
        known = [(read, output) for read, output in made.found if output.requires_grad]
        gradients = torch.autograd.grad(loss, [output for _, output in known], allow_unused=True)
    for (read, _), gradient in zip(known, gradients, strict=True):
        if gradient is not None:
            yield read.name, gradient.movedim(1 if read.convolves else -1, 1)


def _differentiable(x: Tensor) -> Tensor:
    return x.detach().requires_grad_() if x.is_floating_point() else x


class _Outputs:
    """The outputs of weights, in the order of a forward pass."""

    def __init__(self) -> None:
        self.found: list[tuple[MatrixRead, Tensor]] = []

    def add(self, read: WeightRead, output: Tensor) -> None:
        """One call of a weight."""
        if isinstance(read, MatrixRead):
            self.found.append((read, output))

    def restore(self, call: Call) -> None:
        """A linear layer flattens all dimensions but the last; its output is what the view behind it restores."""
        if self.found and call.func.overloadpacket in (aten.view, aten._unsafe_view):
            read, output = self.found[-1]
            restored = call.results[0]
            if call.args[0] is output and not read.convolves and restored.shape[-1] == output.shape[-1]:
                self.found[-1] = read, restored


@dataclass(frozen=True, eq=False)
class _Statistics:
    """Of each weight, by name: the Gram of its input and the Fisher information of its outputs; and the ridge."""

    grams: Mapping[str, Gram]
    gradients: Mapping[str, Tensor]
    ridge: float


def _eliminate(net: Supernet, group: ChannelGroup, statistics: _Statistics) -> Elimination:
    blocks, left_out = _blocks(net, group, statistics)
    alive = torch.ones(group.width, dtype=torch.bool, device=device_of(net.model))
    order: list[int] = []
    errors = [0.0]
    step = -(-group.width // STEPS)
    while len(order) < group.width:
        rises = sum((block.errors(alive) for block in blocks), torch.zeros(group.width).to(alive.device).double())
        going = torch.where(alive, rises, torch.inf).argsort(stable=True)[: min(step, group.width - len(order))]
        added = sum(block.remove(going) for block in blocks)
        alive[going] = False
        order += going.tolist()
        shares = rises[going].cumsum(0) / rises[going].sum().clamp(min=1e-30)
        errors += [errors[-1] + added * float(share) for share in shares]
    return Elimination(np.array(order), np.array(errors[::-1]) / 2, left_out)


def _blocks(net: Supernet, group: ChannelGroup, statistics: _Statistics) -> tuple[list[_Block], tuple[str, ...]]:
    """The reading layers of a group, ready for elimination, and the names of those that cannot be counted."""
    weights = dict(net.model.named_parameters())
    readers = [member for member in group.members if member.reads]
    known = weights.keys() & statistics.grams.keys() & statistics.gradients.keys()
    counted = [member for member in readers if member.tensor in known]
    blocks = [b for m in counted for b in _blocks_of(m, weights[m.tensor].detach(), group.width, statistics)]
    return blocks, tuple(member.tensor for member in readers if member not in counted)


def _blocks_of(member: Member, weight: Tensor, width: int, statistics: _Statistics) -> list[_Block]:
    """The blocks of the columns of one reading layer."""
    gram = statistics.grams[member.tensor]
    matrix = as_matrix(weight, gram.order, gram.groups).double()
    fisher = statistics.gradients[member.tensor].reshape(matrix.shape[:2])
    channel = torch.full((weight.shape[member.dim],), -1)
    channel[torch.from_numpy(member.places)] = torch.from_numpy(member.channels)
    owners = channel.repeat(matrix.shape[-1] // len(channel))  # the channel of each column
    blocks = []
    parts = zip(torch.split(matrix, gram.widths, -1), gram.blocks, torch.split(owners, gram.widths), strict=True)
    for part, block, owner in parts:
        columns, meant = (each.to(weight.device) for each in _columns(owner, width))
        padded = F.pad(part, (0, int(gram.frees_means)))
        blocks.append(_Block(_inverse(block, gram.frees_means, statistics.ridge), padded, fisher, columns, meant))
    return blocks


def _columns(owner: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The columns of each channel, and which of them are not padding. Shape: owner (d,) → (width, m), (width, m)"""
    lists = [(owner == channel).nonzero()[:, 0] for channel in range(width)]
    most = max(1, *(len(each) for each in lists))
    columns = torch.stack([F.pad(each, (0, most - len(each))) for each in lists])
    return columns, torch.stack([torch.arange(most) < len(each) for each in lists])


def _inverse(block: Tensor, with_mean: bool, ridge: float) -> Tensor:
    """(G + r I)⁻¹ in double precision, with or without the row and column of the mean."""
    used = slice(None if with_mean else -1)
    moments = block[:, used, used].double().clone()
    size = block.diagonal(0, 1, 2)[:, :-1].double().mean()
    moments.diagonal(0, 1, 2)[:, : block.shape[-1] - 1] += ridge * size + 1e-12
    inverse: Tensor = torch.linalg.inv(moments)
    return inverse
