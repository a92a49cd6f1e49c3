from collections.abc import Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.models.evaluate import embed
from secateur.models.split import Batch, Views
from secateur.models.tasks.classification import Classification
from secateur.transfer.losses import info_nce_from_similarities, kl
from secateur.transfer.objectives.base import OnlineTeacher, StudentBatch, label_loss
from secateur.transfer.objectives.contrastive import ContrastiveConfig
from secateur.transfer.objectives.contrastive_queue import Queue, QueuedTransfer
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

PIXELS, CLASSES = 6, 3


class Net(nn.Module):
    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.head = nn.Linear(PIXELS, width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(F.relu(self.body(x))))


class Stream:
    """Images that come once, of no known number: nobody has a position."""

    content = ""
    labels = torch.empty(0)
    task = Classification()

    def __len__(self) -> int:
        return 2**40

    def steps(self, size: int) -> int:
        return 4

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        raise AssertionError("nothing is asked for twice")

    def epoch(
        self,
        size: int,
        seed: int,
        views: int = 1,
        start: int = 0,
        *,
        fixed: Sequence[int] = (),
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Views]:
        for number in range(start, 4):
            generator = torch.Generator().manual_seed(seed + number)
            images = torch.randn(views, size, PIXELS, generator=generator)
            yield Views(images, (images[0, :, 0] > 0).long(), torch.full((size,), -1))


def test_a_queue_holds_the_latest_and_no_others() -> None:
    queue, rows = Queue(5, 1), torch.arange(12.0)[:, None]
    for start in range(0, 12, 3):
        queue.push(rows[start : start + 3], torch.arange(start, start + 3))
    assert sorted(queue.labels.tolist()) == [7, 8, 9, 10, 11]
    assert queue.rows[:, 0].tolist() == queue.labels.tolist()
    queue.push(rows, torch.arange(12))
    assert sorted(queue.labels.tolist()) == [7, 8, 9, 10, 11]


def test_places_never_filled_and_the_same_class_are_no_negatives() -> None:
    queue = Queue(4, 2)
    queue.push(torch.ones(3, 2), torch.tensor([0, 1, 0]))
    assert queue.not_negative(torch.tensor([0, 2])).tolist() == [[True, False, True, True], [False, False, False, True]]


def test_keys_are_standardised_by_what_is_held() -> None:
    queue, rows = Queue(8, 3), torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) + 4
    queue.push(rows, torch.zeros(5, dtype=torch.int64))
    expected = F.normalize((rows - rows.mean(0)) / rows.std(0), dim=1)
    torch.testing.assert_close(queue.standardised(rows), expected)


def test_the_loss_is_cross_entropy_and_both_terms() -> None:
    dense, student, images = Net(5, 0).eval(), Net(4, 1), torch.randn(8, PIXELS)
    labels = torch.arange(8) % CLASSES
    objective = QueuedTransfer(OnlineTeacher(dense, "head"), (4, 5), ContrastiveConfig(0.2, 0.7, 0.3), size=16, seed=0)
    logits, embeddings = embed(student, "head", images)
    seen = StudentBatch(logits[None], embeddings[None], labels, torch.full((8,), -1), images[None])
    loss = objective(seen)
    told, keys = embed(dense, "head", images)
    keys = objective.queue.standardised(keys)
    queries = F.normalize(objective.projection(embeddings), dim=1)
    each = []
    for i in range(8):
        others = [j for j in range(8) if labels[j] != labels[i]]
        each.append(info_nce_from_similarities((queries[i] @ keys[i])[None], queries[i] @ keys[others].T))
    expected = 0.2 * label_loss(seen) + 0.7 * kl(told, logits).mean() + 0.3 * torch.stack(each).mean()
    torch.testing.assert_close(loss, expected)


def test_a_stream_of_no_length_trains_and_the_dense_network_stays_as_it_is() -> None:
    dense, student = Net(5, 0), Net(4, 1)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    objective = QueuedTransfer(OnlineTeacher(dense, "head"), (4, 5), size=20, seed=0)
    steps = list(train(student, Stream(), objective, Recipe(epochs=3, batch=8), head="head"))
    assert len(steps) == 12
    assert all(step.loss == pytest.approx(step.loss) for step in steps)  # no NaN
    assert int(objective.queue.entered) == 96
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
