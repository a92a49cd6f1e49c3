from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.models.evaluate import embed
from secateur.transfer.losses import crd_nce
from secateur.transfer.objectives.base import OnlineTeacher, StudentBatch, label_loss
from secateur.transfer.objectives.crd import SIZE, RepresentationDistillation

IMAGES, CLASSES, PIXELS = 48, 4, 12
LABELS = torch.arange(IMAGES) % CLASSES
PICTURES = torch.randn(IMAGES, PIXELS, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.norm, self.head = nn.Linear(PIXELS, width), nn.BatchNorm1d(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(F.relu(self.norm(self.body(x)))))


def objective(dense: nn.Module, negatives: int = 9, seed: int = 0) -> RepresentationDistillation:
    return RepresentationDistillation(OnlineTeacher(dense, "head"), LABELS, (5, 7), negatives=negatives, seed=seed)


def seen(student: nn.Module, indices: Tensor) -> StudentBatch:
    logits, embeddings = embed(student, "head", PICTURES[indices])
    return StudentBatch(logits[None], embeddings[None], LABELS[indices], indices, PICTURES[None, indices])


def test_the_loss_is_cross_entropy_and_both_directions_against_the_memories() -> None:
    dense, student = Net(7, 0).eval(), Net(5, 1)
    crd, batch = objective(dense), seen(student, torch.arange(8))
    memories = {name: side.memory.clone() for name, side in (("student", crd.student), ("teacher", crd.teacher))}
    torch.manual_seed(3)
    negatives = crd.negatives(batch.indices)
    rows = torch.cat([batch.indices[:, None], negatives], 1)
    torch.manual_seed(3)
    loss = crd(batch)
    told = embed(dense, "head", PICTURES[:8])[1]
    total = label_loss(batch)
    for anchors, memory in ((crd.student(batch.embeddings[0]), "teacher"), (crd.teacher(told), "student")):
        similar = torch.einsum("bd,bmd->bm", anchors, memories[memory][rows])
        scale = (similar / 0.07).exp().mean().detach() * IMAGES
        total = total + 0.8 * crd_nce(similar, scale, IMAGES)
    torch.testing.assert_close(loss, total)
    assert (LABELS[negatives] != LABELS[:8, None]).all()


def test_memories_follow_what_was_seen_and_their_scale_is_set_once() -> None:
    crd, student = objective(Net(7, 0)), Net(5, 1)
    before = crd.student.memory.clone()
    crd(seen(student, torch.arange(8)))
    scales = crd.student.normaliser.clone(), crd.teacher.normaliser.clone()
    assert torch.equal(crd.student.memory[8:], before[8:])
    visited = F.normalize(0.5 * before[:8] + 0.5 * crd.student(seen(student, torch.arange(8)).embeddings[0]), dim=1)
    torch.testing.assert_close(crd.student.memory[:8], visited)
    crd(seen(student, torch.arange(20, 30)))
    assert (crd.student.normaliser, crd.teacher.normaliser) == scales
    for side in (crd.student, crd.teacher):
        torch.testing.assert_close(side.memory.norm(dim=1), torch.ones(IMAGES))
        assert side.memory.shape == (IMAGES, SIZE)
        assert not side.memory.requires_grad


def test_what_is_seen_draws_nearer_to_its_own_rows_than_to_others() -> None:
    dense, student = Net(7, 0).train(), Net(5, 1)
    untouched = deepcopy(dense.state_dict())
    crd = objective(dense)
    optimizer = torch.optim.SGD([*student.parameters(), *crd.module.parameters()], lr=0.05, momentum=0.9)
    torch.manual_seed(0)
    losses = []
    for step in range(60):
        loss = crd(seen(student, torch.arange(16) + 16 * (step % 3)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    similar = crd.student(seen(student, torch.arange(IMAGES)).embeddings[0]) @ crd.teacher.memory.T
    assert similar.diag().mean() > similar[LABELS[:, None] != LABELS].mean() + 0.1
    assert all(torch.equal(tensor, untouched[name]) for name, tensor in dense.state_dict().items())
    assert all(parameter.grad is None for parameter in dense.parameters())
    assert dense.training


def test_the_seed_decides_and_a_checkpoint_can_carry_everything() -> None:
    one, two, other = (objective(Net(7, 0), seed=seed).module.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["student.memory"], other["student.memory"])
    assert {name.rpartition(".")[2] for name in one} == {"weight", "bias", "memory", "normaliser"}
    assert (objective(Net(7, 0)).views, objective(Net(7, 0)).metrics()) == (1, {})
