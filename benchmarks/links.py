"""The chain of transfer.py: networks from large to small, each inside the last, which is its teacher.

A trained network is traced again and takes the place of the dense one: the next is searched among its channels,
compensated from it, and trained on its features with a restart of the learning rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

import secateur as sc
from secateur.models.evaluate import recalibrate_as_trained
from secateur.pipeline.session import Session
from secateur.search.config import SearchConfig
from secateur.transfer.methods import MethodContext
from secateur.transfer.objectives.aligned import AlignedConfig, AlignedTransfer, KeptFeatures
from secateur.transfer.objectives.base import Distillation, Objective, OnlineTeacher, StudentBatch, online_teacher
from secateur.transfer.training.train import train

SHARES = (0.8, 0.65, 0.5)  # of the dense network's MACs
FEWEST = 5  # epochs of the last network alone, to share among the links


@dataclass(frozen=True, eq=False)
class Teachers(OnlineTeacher):
    """The last network of a chain, whose features count, and the mean of its logits and those of all before it."""

    others: tuple[OnlineTeacher, ...] = ()

    def __call__(self, batch: StudentBatch) -> tuple[Tensor, Tensor]:
        """Mean logits, and the last network's embeddings."""
        logits, embeddings = super().__call__(batch)
        for other in self.others:
            logits = logits + other(batch)[0]
        return logits / (1 + len(self.others)), embeddings


Link = Callable[[MethodContext, Sequence[nn.Module]], Objective]  # of the context, and all networks so far


def taught_by_last(context: MethodContext, before: Sequence[nn.Module]) -> Objective:
    """Logits and feature maps of the last network."""
    return AlignedTransfer(context.dense, KeptFeatures.of(context.net, context.kept), AlignedConfig())


def taught_by_all(context: MethodContext, before: Sequence[nn.Module]) -> Objective:
    """Mean logits of all networks so far, feature maps of the last."""
    *earlier, last = (OnlineTeacher(model, context.net.head) for model in before)
    teachers = Teachers(last.model, last.head, tuple(earlier))
    return AlignedTransfer(teachers, KeptFeatures.of(context.net, context.kept), AlignedConfig())


def taught_by_dense(context: MethodContext, before: Sequence[nn.Module]) -> Objective:
    """The control: the same links, but the dense network alone teaches, by its logits."""
    return Distillation(online_teacher(before[0]))


def shared_out(epochs: int) -> tuple[int, ...]:
    """Epochs of each link that together cost at most ``epochs`` of the last, in MACs.

    >>> shared_out(10)
    (2, 2, 4)
    """
    if epochs < FEWEST:
        raise SystemExit(f"{epochs} epochs are too few for a chain; pass --epochs {FEWEST} or more, or other arms")
    *larger, last = SHARES
    each = epochs // 5
    return (*(each for _ in larger), int((epochs * last - each * sum(larger)) / last + 1e-9))


def chained(
    session: Session, link: Link, *, epochs: int, seed: int, trials: int, folder: Path
) -> tuple[nn.Module, int, str]:
    """The last network, its MACs, and those of all links with the epochs that they were trained for."""
    net, before, about = session.net, [session.net.model], list[str]()
    dense = net.macs(net.dense)
    for share, part in zip(SHARES, shared_out(epochs), strict=True):
        here = replace(session, net=net, folder=folder / f"{share}")
        here.folder.mkdir()
        budget = f"{share * dense / 1e6:.4f}M"
        point = here.search(SearchConfig(net.span(budget), trials, seed=0)).winner.subnetwork
        model = here.initial_student(point)
        objective = link(here.context(model, point, bank=None, seed=seed), before)
        for step in train(model, here.data.train, objective, here.recipe(epochs=part, seed=seed), head=net.head):
            print(f"link of {share}: {step.step}/{step.steps}, loss {step.loss:.3f}", end="\r", flush=True)
        recalibrate_as_trained(model, here.data.train)
        macs = net.macs(point)
        about.append(f"{macs} x {part}")
        net = sc.Supernet.of(model.eval(), here.data.example)
        before.append(model)
    return model, macs, ", ".join(about)
