from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.models.subnetwork import Subnetwork
from secateur.transfer.bank.bank import MemoryBank, Teacher
from secateur.transfer.bank.negatives import hard_negatives
from secateur.transfer.bank.top_k import top_k_logits
from secateur.transfer.losses import dkd_loss, gated_transfer, info_nce, kl
from secateur.transfer.objectives.base import (
    NEGATIVES,
    ContrastiveTransfer,
    CrossEntropy,
    Distillation,
    Objective,
    StudentBatch,
    bank_logits,
    bank_teacher,
    hard_bank_negatives,
    kd_loss,
    label_loss,
    online_teacher,
    random_bank_negatives,
)

IMAGES, CLASSES, DENSE, WIDTH, TEACHERS = 40, 4, 8, 5, 3
LABELS = torch.arange(IMAGES) % CLASSES


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made_up(folder: Path) -> MemoryBank:
    """A bank that no network stands behind: whatever is learnt from it, no teacher was run for it."""
    best = 4 * F.one_hot(LABELS, CLASSES) + normal(IMAGES, CLASSES)
    logits = torch.stack([best + k * normal(IMAGES, CLASSES, seed=k) for k in range(TEACHERS)])
    teachers = tuple(Teacher(Subnetwork(((k,),)), float(k), 1) for k in range(TEACHERS))
    return MemoryBank(folder, teachers, tuple(logits.half()), tuple(normal(TEACHERS, IMAGES, DENSE, seed=7).half()))


def seen(batch: int = 6, views: int = 2, seed: int = 0) -> StudentBatch:
    indices = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))[:batch]
    logits, embeddings = normal(views, batch, CLASSES, seed=seed + 1), normal(views, batch, WIDTH, seed=seed + 2)
    images = normal(views, batch, 3, 4, 4, seed=seed + 3)
    return StudentBatch(logits.requires_grad_(), embeddings.requires_grad_(), LABELS[indices], indices, images)


def transfer(folder: Path, pull: float = 1.0, contrast: float = 0.5, seed: int = 0) -> ContrastiveTransfer:
    bank = made_up(folder)
    return ContrastiveTransfer(bank, LABELS, WIDTH, own=1.0, pull=pull, contrast=contrast, power=1, views=2, seed=seed)


@pytest.mark.parametrize("views", [1, 2, 3])
def test_cross_entropy_is_the_mean_over_the_views(views: int) -> None:
    batch = seen(views=views)
    expected = torch.stack([F.cross_entropy(view, batch.labels) for view in batch.logits]).mean()
    torch.testing.assert_close(label_loss(batch), expected)
    objective = CrossEntropy(views)
    assert torch.equal(objective(batch), label_loss(batch))
    assert (objective.views, objective.gates(), list(objective.module.parameters())) == (views, [], [])


def test_transfer_of_nothing_is_cross_entropy_on_two_views(tmp_path: Path) -> None:
    objective, control = transfer(tmp_path, pull=0, contrast=0), CrossEntropy(2)
    assert objective.views == control.views == 2
    assert torch.equal(objective(seen()), control(seen()))
    assert list(objective.module.parameters()) == []
    assert list(tmp_path.iterdir()) == []


def test_transfer_is_the_weighted_sum_of_its_terms(tmp_path: Path) -> None:
    batch, bank = seen(), made_up(tmp_path)
    objective = transfer(tmp_path, pull=0.7, contrast=0.3)
    pull = gated_transfer(bank.stored_logits(batch.indices), batch.logits)
    negatives = hard_negatives(tmp_path / "index.faiss", LABELS, NEGATIVES)
    queries = F.normalize(objective.module.get_submodule("projection")(batch.embeddings), dim=-1)
    contrast = info_nce(queries, bank.keys()[batch.indices], bank.keys()[negatives[batch.indices]])
    torch.testing.assert_close(objective(batch), label_loss(batch) + 0.7 * pull + 0.3 * contrast)
    assert min(pull.item(), contrast.item()) > 0.01


def test_a_term_without_weight_is_not_computed(tmp_path: Path) -> None:
    gated, contrasted = transfer(tmp_path / "no", contrast=0), transfer(tmp_path, pull=0)
    batch = seen()
    torch.testing.assert_close(
        gated(batch), label_loss(batch) + gated_transfer(made_up(tmp_path).stored_logits(batch.indices), batch.logits)
    )
    assert not (tmp_path / "no").exists()  # no index either
    assert (tmp_path / "index.faiss").exists()
    contrasted(batch)
    assert contrasted.gates() == [0.0] * TEACHERS
    assert [*torch.autograd.grad(gated(batch), batch.embeddings, allow_unused=True)] == [None]


def test_gates_are_the_shares_of_steps_that_each_was_open(tmp_path: Path) -> None:
    objective, bank = transfer(tmp_path, contrast=0), made_up(tmp_path)
    assert objective.gates() == [0.0] * TEACHERS
    for step in range(4):  # three times one that knows nothing, once one that knows what the best teacher knows
        batch = seen(seed=step)
        known = bank.stored_logits(batch.indices)[:, 0].expand(2, -1, -1)
        objective(batch._replace(logits=known if step == 3 else torch.zeros_like(known)))
    assert objective.gates() == [1.0, 0.75, 0.75]


def test_gates_travel_with_the_state_of_the_module(tmp_path: Path) -> None:
    one, two = transfer(tmp_path, contrast=0), transfer(tmp_path, contrast=0)
    one(seen())
    two.module.load_state_dict(one.module.state_dict())
    assert two.gates() == one.gates() != [0.0] * TEACHERS


def test_gradients_reach_the_student_and_the_projection_alone(tmp_path: Path) -> None:
    objective, batch = transfer(tmp_path), seen()
    objective(batch).backward()  # type: ignore[no-untyped-call]
    (projection,) = objective.module.parameters()
    for tensor in (batch.logits, batch.embeddings, projection):
        assert torch.as_tensor(tensor.grad).abs().sum() > 0
    assert not objective.keys.requires_grad
    assert {tuple(p.shape) for p in objective.module.parameters()} == {(DENSE, WIDTH)}


def test_the_projection_is_orthogonal_and_comes_from_the_seed(tmp_path: Path) -> None:
    def projection(seed: int) -> Tensor:
        return next(transfer(tmp_path, seed=seed).module.parameters()).detach()

    torch.manual_seed(5)
    one = projection(1)
    torch.testing.assert_close(one.T @ one, torch.eye(WIDTH))
    assert torch.equal(one, projection(1))
    assert not torch.equal(one, projection(2))


def test_negatives_of_a_batch_are_of_other_classes(tmp_path: Path) -> None:
    bank, positions = made_up(tmp_path), torch.arange(IMAGES)
    hard, others = hard_bank_negatives(bank, LABELS)(positions), random_bank_negatives(bank, LABELS)(positions)
    assert hard.shape == (IMAGES, min(NEGATIVES, IMAGES * 3 // 4))
    assert others.shape == (IMAGES, NEGATIVES)
    assert (LABELS[hard] != LABELS[:, None]).all()
    assert (LABELS[others] != LABELS[:, None]).all()
    assert torch.equal(hard, transfer(tmp_path).negatives(positions))  # what is mined is the default


def test_an_objective_works_on_every_device(tmp_path: Path, device: torch.device) -> None:
    objective, batch = transfer(tmp_path), seen()
    expected = objective(batch)
    objective.module.to(device)
    there = StudentBatch(
        batch.logits.to(device), batch.embeddings.to(device), batch.labels.to(device), batch.indices, batch.images
    )
    torch.testing.assert_close(objective(there).cpu(), expected, rtol=1e-3, atol=1e-3)
    assert objective.gates()[0] == 1.0


def test_both_are_objectives(tmp_path: Path) -> None:
    objectives: list[Objective] = [CrossEntropy(), transfer(tmp_path)]
    assert [objective.views for objective in objectives] == [1, 2]


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
    loss = Distillation(online_teacher(teacher), kd_loss, 0.1)(batch)
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
    told = Distillation(bank_teacher(both), kd_loss, 0.0)(batch._replace(fixed=(3, 1)))
    torch.testing.assert_close(told, 0.9 * kl(found[:, :, 0], batch.logits).mean())
    objective = ContrastiveTransfer(both, LABELS, WIDTH, own=1.0, pull=1.0, contrast=0.0, power=1, views=2, seed=0)
    loss = objective(batch._replace(fixed=(3, 1)))
    torch.testing.assert_close(loss, label_loss(batch) + gated_transfer(found, batch.logits))


def test_condensed_teachers_pull_on_their_classes_and_the_rest(tmp_path: Path) -> None:
    bank, batch = made_up(tmp_path), seen(views=2)
    classes = bank.logits[0].float().topk(2).indices
    few = [top_k_logits(each.float(), classes) for each in bank.logits]
    condensed_bank = replace(bank, logits=tuple(few), classes=classes.short())
    loss = Distillation(bank_teacher(condensed_bank), kd_loss, 0.0)(batch)
    said = top_k_logits(batch.logits, classes[batch.indices].expand(2, -1, -1))
    torch.testing.assert_close(loss, 0.9 * kl(few[0][batch.indices], said).mean())


def test_a_cached_teacher_is_the_widest_of_the_bank(tmp_path: Path) -> None:
    bank, batch = made_up(tmp_path), seen(views=2)
    wide = replace(bank, teachers=tuple(replace(each, macs=k) for k, each in enumerate(bank.teachers)))
    told = bank.logits[-1][batch.indices].float().expand_as(batch.logits)
    expected = label_loss(batch) + dkd_loss(told, batch.logits, batch.labels.expand(2, -1)).mean()
    torch.testing.assert_close(Distillation(bank_teacher(wide), dkd_loss, 1.0)(batch), expected)


def test_a_teacher_without_a_say_leaves_cross_entropy(tmp_path: Path) -> None:
    batch = seen(views=1)
    objective = Distillation(bank_teacher(made_up(tmp_path)), lambda *given: torch.zeros(1), 1.0)
    assert torch.equal(objective(batch), CrossEntropy()(batch))
    assert (objective.views, objective.gates(), list(objective.module.parameters())) == (1, [], [])
