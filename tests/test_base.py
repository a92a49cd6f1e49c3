from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from made_up import CLASSES, IMAGES, LABELS, TEACHERS, WIDTH, made_up, normal, seen
from torch import Tensor, nn

from secateur.transfer.bank.top_k import top_k_logits
from secateur.transfer.losses import dkd_loss, gated_transfer, kd_loss, kl
from secateur.transfer.objectives.base import (
    CrossEntropy,
    Distillation,
    Objective,
    bank_logits,
    bank_teacher,
    label_loss,
    online_teacher,
)
from secateur.transfer.objectives.contrastive import ContrastiveConfig, ContrastiveTransfer


@pytest.mark.parametrize("views", [1, 2, 3])
def test_cross_entropy_is_the_mean_over_the_views(views: int) -> None:
    batch = seen(views=views)
    expected = torch.stack([F.cross_entropy(view, batch.labels) for view in batch.logits]).mean()
    torch.testing.assert_close(label_loss(batch), expected)
    objective = CrossEntropy(views)
    assert torch.equal(objective(batch), label_loss(batch))
    assert (objective.views, objective.metrics(), list(objective.module.parameters())) == (views, {}, [])


TWO_VIEWS = ContrastiveConfig(views=2)


def test_both_are_objectives(tmp_path: Path) -> None:
    bank = made_up(tmp_path)
    objectives: list[Objective] = [CrossEntropy(), ContrastiveTransfer(bank, LABELS, WIDTH, TWO_VIEWS, seed=0)]
    assert [objective.views for objective in objectives] == [1, 2]
    assert all(isinstance(objective, Objective) for objective in objectives)


class Counted(nn.Module):
    """A teacher that says something else of every image, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.asked = nn.Linear(48, CLASSES), nn.BatchNorm1d(CLASSES), 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += 1
        logits: Tensor = self.norm(self.layer(images.flatten(1)))
        return logits


def test_an_online_teacher_sees_the_students_views_and_learns_nothing() -> None:
    torch.manual_seed(0)
    teacher, batch = Counted().train(), seen(views=2)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    loss = Distillation(online_teacher(teacher), kd_loss, 0.1, 0.9)(batch)
    told = teacher.eval()(batch.images.flatten(0, 1)).reshape(batch.logits.shape)
    torch.testing.assert_close(loss, 0.1 * label_loss(batch) + 0.9 * kl(told, batch.logits).mean())
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert batch.logits.grad is not None


def test_teachers_speak_of_the_very_views_that_are_seen_where_those_are_fixed(tmp_path: Path) -> None:
    bank, batch = made_up(tmp_path), seen(views=2)
    fixed = tuple(replace(bank, logits=tuple(normal(TEACHERS, IMAGES, CLASSES, seed=20 + v))) for v in range(4))
    both = replace(bank, fixed=fixed)
    assert torch.equal(bank_logits(both, batch), bank.stored_logits(batch.indices).expand(2, -1, -1, -1))
    found = bank_logits(both, batch._replace(fixed=(3, 1)))
    assert torch.equal(found, torch.stack([fixed[view].stored_logits(batch.indices) for view in (3, 1)]))
    told = Distillation(bank_teacher(both), kd_loss, 0.0, 0.9)(batch._replace(fixed=(3, 1)))
    torch.testing.assert_close(told, 0.9 * kl(found[:, :, 0], batch.logits).mean())
    objective = ContrastiveTransfer(both, LABELS, WIDTH, ContrastiveConfig(1.0, 1.0, 0.0, power=1, views=2), seed=0)
    loss = objective(batch._replace(fixed=(3, 1)))
    torch.testing.assert_close(loss, label_loss(batch) + gated_transfer(found, batch.logits))


def test_condensed_teachers_pull_on_their_classes_and_the_rest(tmp_path: Path) -> None:
    bank, batch = made_up(tmp_path), seen(views=2)
    classes = bank.logits[0].float().topk(2).indices
    few = [top_k_logits(each.float(), classes) for each in bank.logits]
    condensed_bank = replace(bank, logits=tuple(few), classes=classes.short())
    loss = Distillation(bank_teacher(condensed_bank), kd_loss, 0.0, 0.9)(batch)
    said = top_k_logits(batch.logits, classes[batch.indices].expand(2, -1, -1))
    torch.testing.assert_close(loss, 0.9 * kl(few[0][batch.indices], said).mean())


def test_a_cached_teacher_is_the_widest_of_the_bank(tmp_path: Path) -> None:
    bank, batch = made_up(tmp_path), seen(views=2)
    wide = replace(bank, teachers=tuple(replace(each, macs=k) for k, each in enumerate(bank.teachers)))
    told = bank.logits[-1][batch.indices].float().expand_as(batch.logits)
    expected = label_loss(batch) + dkd_loss(told, batch.logits, batch.labels.expand(2, -1)).mean()
    torch.testing.assert_close(Distillation(bank_teacher(wide), dkd_loss, 1.0, 1.0)(batch), expected)


def test_a_teacher_without_a_say_leaves_cross_entropy(tmp_path: Path) -> None:
    batch = seen(views=1)
    objective = Distillation(bank_teacher(made_up(tmp_path)), lambda *given: torch.zeros(1), 1.0, 1.0)
    assert torch.equal(objective(batch), CrossEntropy()(batch))
    assert (objective.views, objective.metrics(), list(objective.module.parameters())) == (1, {}, [])
