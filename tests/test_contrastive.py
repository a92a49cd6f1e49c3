"""Contrastive transfer from a bank: its terms, gates, negatives and projection."""

from pathlib import Path

import torch
import torch.nn.functional as F
from made_up import DENSE, IMAGES, LABELS, TEACHERS, WIDTH, made_up, seen
from torch import Tensor

from secateur.transfer.bank.negatives import hard_negatives
from secateur.transfer.losses import gated_transfer, info_nce
from secateur.transfer.objectives.base import (
    CrossEntropy,
    StudentBatch,
    label_loss,
)
from secateur.transfer.objectives.contrastive import (
    NEGATIVES,
    ContrastiveConfig,
    ContrastiveTransfer,
    hard_bank_negatives,
    random_bank_negatives,
)


def transfer(folder: Path, pull: float = 1.0, contrast: float = 0.5, seed: int = 0) -> ContrastiveTransfer:
    bank = made_up(folder)
    return ContrastiveTransfer(bank, LABELS, WIDTH, ContrastiveConfig(1.0, pull, contrast, power=1, views=2), seed=seed)


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
    assert contrasted.metrics()["gates_open"] == [0.0] * TEACHERS
    assert [*torch.autograd.grad(gated(batch), batch.embeddings, allow_unused=True)] == [None]


def test_gates_are_the_shares_of_steps_that_each_was_open(tmp_path: Path) -> None:
    objective, bank = transfer(tmp_path, contrast=0), made_up(tmp_path)
    assert objective.metrics()["gates_open"] == [0.0] * TEACHERS
    for step in range(4):  # three times one that knows nothing, once one that knows what the best teacher knows
        batch = seen(seed=step)
        known = bank.stored_logits(batch.indices)[:, 0].expand(2, -1, -1)
        objective(batch._replace(logits=known if step == 3 else torch.zeros_like(known)))
    assert objective.metrics()["gates_open"] == [1.0, 0.75, 0.75]


def test_gates_travel_with_the_state_of_the_module(tmp_path: Path) -> None:
    one, two = transfer(tmp_path, contrast=0), transfer(tmp_path, contrast=0)
    one(seen())
    two.module.load_state_dict(one.module.state_dict())
    assert two.metrics() == one.metrics() != {"gates_open": [0.0] * TEACHERS}


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
    assert objective.metrics()["gates_open"][0] == 1.0
