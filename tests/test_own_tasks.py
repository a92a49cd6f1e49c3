"""Networks and data of all kinds from search to fine-tuned network: maps, numbers, many labels, several outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from commands import Capture, status
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import secateur as sc
from secateur.models.evaluate import evaluate
from secateur.search.allocation import uniform
from secateur.transfer.bank.bank import MemoryBank

COUNTS = (64, 32, 32)  # of training, holdout, test


class Flipped(Dataset[Any]):
    """Pictures with maps as targets, both mirrored at random: a transform as people write it."""

    def __init__(self, images: Tensor, maps: Tensor) -> None:
        self.images, self.maps = images, maps

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, str]:
        image, target = self.images[position], self.maps[position]
        if torch.rand(()) < 0.5:
            image, target = image.flip(-1), target.flip(-1)
        return image, target, f"picture {position}"


def noise(count: int, *shape: int, seed: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def squares(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Grey pictures with a square of one of two shades, and maps of which pixel belongs to what."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.zeros(count, 16, 16, dtype=torch.int64)
    for number, (row, column) in enumerate(torch.randint(1, 9, (count, 2), generator=generator).tolist()):
        maps[number, row : row + 6, column : column + 6] = 1 + number % 2
    images = (maps - 1).float() + 0.2 * noise(count, 16, 16, seed=seed)
    maps[:, 0] = 255  # a row that does not count
    return images[:, None], maps


class TinyUnet(nn.Module):
    """An encoder, a decoder and a skip between them; as torchvision's networks it returns a dictionary."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.top, self.top_norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.down_norm = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12)
        self.up, self.join = nn.ConvTranspose2d(12, 8, 2, stride=2), nn.Conv2d(16, 8, 3, padding=1)
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        top = F.relu(self.top_norm(self.top(x)))
        deep = self.up(F.relu(self.down_norm(self.down(top))))
        return {"out": self.head(F.relu(self.join(torch.cat([top, deep], 1))))}


def convolutional(reads: int, *heads: nn.Module) -> nn.Sequential:
    """Two layers and a head on their pooled channels."""
    first = nn.Sequential(nn.Conv2d(reads, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU())
    return nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *heads)


def trained(model: nn.Module, data: sc.Data, steps: int = 3) -> sc.Supernet:
    """The network after a few epochs by the task's own loss."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(steps):
        for images, targets, _ in data.train.epoch(16, epoch):
            inputs = {name: x[0] for name, x in images.items()} if isinstance(images, dict) else images[0]
            wanted = targets if data.train.labels is not None else first_view(targets)
            output = model(**inputs) if isinstance(inputs, dict) else model(inputs)
            optimizer.zero_grad()
            data.task.mean_loss(output, wanted).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return sc.Supernet.of(model.eval(), data.example)


def first_view(targets: Any) -> Any:
    return {name: x[0] for name, x in targets.items()} if isinstance(targets, dict) else targets[0]


def search(net: sc.Supernet, data: sc.Data) -> sc.Found:
    """A search of a few subnetworks, by scores that read gradients of the task's loss."""
    scores = {name: sc.SCORES[name] for name in ("obs", "taylor")}
    return sc.find(net, data, "50%", trials=1, views=1, scores=scores, rules={"uniform": uniform}, method="ckt")


def found_and_tuned(net: sc.Supernet, data: sc.Data, methods: Sequence[str]) -> dict[str, float]:
    """Losses on test data: of the dense network, and of each method's half."""
    found = search(net, data)
    assert net.macs(found.best()) <= 0.5 * net.macs(net.dense)
    losses = {"dense": evaluate(net.model, data.test).loss}
    for method in methods:
        student = sc.finetune(net, found.best(), found.bank, data, epochs=3, method=method, views=1)
        losses[method] = evaluate(student, data.test).loss
    return losses


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_segmentation_network_is_searched_and_tuned_by_every_method_that_compares_maps() -> None:
    parts = [Flipped(*squares(count, seed)) for seed, count in enumerate(COUNTS)]
    data = sc.Data.of(*parts, task=sc.Segmentation(3))
    net = trained(TinyUnet(3), data)
    losses = found_and_tuned(net, data, ["ce", "kd", "kdft", "aligned", "ckt", "ckt-queue"])
    assert all(loss < 0.7 for loss in losses.values())  # log 3 is 1.1
    score = evaluate(net.model, data.test)
    assert (score.name, score.accuracy) == ("mIoU", None)
    assert 0.5 < score.value <= 1


def test_a_regression_of_one_channel_to_two_numbers_is_searched_and_tuned() -> None:
    images = [noise(count, 1, 8, 8, seed=seed) for seed, count in enumerate(COUNTS)]
    means = [torch.stack([x.mean((1, 2, 3)), x.square().mean((1, 2, 3))], 1) for x in images]
    data = sc.Data.of(*map(TensorDataset, images, means), task=sc.Regression())
    net = trained(convolutional(1, nn.Linear(12, 2)), data, 10)
    losses = found_and_tuned(net, data, ["ce", "kd", "kdft", "ckt"])
    assert all(loss < 0.5 for loss in losses.values())  # of all zeros it is 0.5
    assert evaluate(net.model, data.test).name == "MAE"


def test_a_network_of_many_labels_is_searched_and_tuned() -> None:
    images = [noise(count, 3, 8, 8, seed=seed) for seed, count in enumerate(COUNTS)]
    labels = [(x.mean((2, 3)) > 0).int() for x in images]  # a label for each channel that is bright
    data = sc.Data.of(*map(TensorDataset, images, labels), task=sc.MultiLabel())
    net = trained(convolutional(3, nn.Linear(12, 3)), data, 10)
    losses = found_and_tuned(net, data, ["ce", "kd", "ckt"])
    assert all(loss < 0.75 for loss in losses.values())
    assert evaluate(net.model, data.test).name == "F1"


class Detector(nn.Module):
    """One box and one class a place: three outputs, and a grid that is the same for all images."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1))
        self.boxes, self.scores, self.centre = (nn.Conv2d(12, made, 1) for made in (4, 2, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = F.relu(self.body(x))
        return self.boxes(x), {"scores": self.scores(x), "centre": self.centre(x)}


def detection_loss(output: tuple[Tensor, dict[str, Tensor]], target: dict[str, Tensor]) -> Tensor:
    boxes, maps = output
    found = F.cross_entropy(maps["scores"].mean((2, 3)), target["class"], reduction="none")
    return F.smooth_l1_loss(boxes.mean((2, 3)), target["box"], reduction="none").mean(1) + found


def right_class(output: tuple[Tensor, dict[str, Tensor]], target: dict[str, Tensor]) -> Tensor:
    return output[1]["scores"].mean((2, 3)).argmax(1) == target["class"]


def map_distance(teacher: tuple[Tensor, dict[str, Tensor]], student: tuple[Tensor, dict[str, Tensor]]) -> Tensor:
    pairs = zip((teacher[0], *teacher[1].values()), (student[0], *student[1].values()), strict=True)
    return torch.stack([(one - other).square().flatten(1).mean(1) for one, other in pairs]).sum(0)


class Boxes(Dataset[Any]):
    def __init__(self, count: int, seed: int) -> None:
        self.images, maps = squares(count, seed)
        self.classes = maps[:, 1:].amax((1, 2)) - 1

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.images[position], {"class": self.classes[position], "box": torch.full((4,), 0.5)}


@pytest.mark.parametrize("compares", [False, True])
def test_a_detector_is_searched_and_tuned_by_its_own_loss(compares: bool) -> None:
    task = sc.Task(loss=detection_loss, metric=right_class, divergence=map_distance if compares else None)
    data = sc.Data.of(*(Boxes(count, seed) for seed, count in enumerate(COUNTS)), task=task)
    net = trained(Detector(), data, 6)
    losses = found_and_tuned(net, data, ["ce", "kd", "kdft", "ckt"] if compares else ["ce", "aligned"])
    assert all(loss < 0.8 for loss in losses.values())
    assert evaluate(net.model, data.test).name == "right_class"


def test_a_task_that_cannot_compare_outputs_has_no_bank_and_says_so() -> None:
    data = sc.Data.of(*(Boxes(24, seed) for seed in range(3)), task=sc.Task(loss=detection_loss, metric=right_class))
    net = sc.Supernet.of(Detector().eval(), data.example)
    assert search(net, data).bank is None
    for method in ("kd", "kdft", "ckt", "ckt-kl", "ckt-queue"):
        with pytest.raises(sc.SecateurError, match=r"does not say how .* compared; pass method ce"):
            sc.finetune(net, net.dense, None, data, epochs=1, method=method)
    for method, reason in (("dkd", "logits of classes"), ("crd", "images of different classes")):
        with pytest.raises(sc.SecateurError, match=reason):
            sc.finetune(net, net.dense, None, data, epochs=1, method=method)


def class_of(images: Tensor) -> Tensor:
    return (images[:, 0].flatten(1).mean(1) > 0).long()


def series(reads: int) -> nn.Module:
    layers = [nn.Conv1d(reads, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("model", "shape"), [(lambda: convolutional(4, nn.Linear(12, 2)), (4, 8, 8)), (lambda: series(2), (2, 24))]
)
def test_pictures_of_four_channels_and_series_are_classified(
    model: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    images = [noise(count, *shape, seed=seed) for seed, count in enumerate(COUNTS)]
    data = sc.Data.of(*(TensorDataset(x, class_of(x)) for x in images))
    net = trained(model(), data, 8)
    losses = found_and_tuned(net, data, ["ce", "dkd", "crd", "ckt"])
    assert all(loss < 0.75 for loss in losses.values())
    assert evaluate(net.model, data.test).accuracy is not None


def test_a_user_of_loaders_keeps_the_collate_function_and_the_batch_size() -> None:
    def halved(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*items, strict=True)
        return torch.stack(images) / 2, torch.stack(labels)

    images = [noise(count, 1, 8, 8, seed=seed) for seed, count in enumerate(COUNTS)]
    sets = [TensorDataset(x, class_of(x)) for x in images]
    data = sc.Data.of(*(DataLoader(each, batch_size=10, shuffle=True, collate_fn=halved) for each in sets))
    batch = next(data.train.batches(500))
    assert torch.equal(batch.images, images[0][batch.indices] / 2)
    assert len(batch.images) == 10
    losses = found_and_tuned(trained(convolutional(1, nn.Linear(12, 2)), data, 8), data, ["ce", "ckt"])
    assert all(loss < 0.75 for loss in losses.values())


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.picture, self.numbers = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(5, 8)
        self.join, self.head = nn.Linear(16, 8), nn.Linear(8, 1)

    def forward(self, picture: Tensor, numbers: Tensor) -> Tensor:
        seen = F.relu(self.picture(picture)).mean((2, 3))
        out: Tensor = self.head(F.relu(self.join(torch.cat([seen, F.relu(self.numbers(numbers))], 1))))
        return out


class Several(Dataset[Any]):
    """Items of a picture and numbers, and their sum."""

    def __init__(self, count: int, seed: int) -> None:
        self.pictures, self.numbers = noise(count, 1, 8, 8, seed=seed), noise(count, 5, seed=seed)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, position: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (self.pictures[position], self.numbers[position]), self.numbers[position].sum()


def test_a_network_of_two_inputs_is_searched_and_tuned() -> None:
    data = sc.Data.of(*(Several(count, seed) for seed, count in enumerate(COUNTS)), task=sc.Regression())
    net = sc.Supernet.of(TwoInputs().eval(), data.example)
    losses = found_and_tuned(net, data, ["ce", "kd", "ckt"])
    assert losses["ce"] < 5  # of all zeros it is 5


def test_methods_that_learn_widths_train_by_the_task() -> None:
    parts = [Flipped(*squares(count, seed)) for seed, count in enumerate(COUNTS)]
    data = sc.Data.of(*parts, task=sc.Segmentation(3))
    net = trained(TinyUnet(3), data)
    for learn in (sc.pdd, partial(sc.kddp, neurons="all"), sc.blockwise):
        assert evaluate(learn(net, data, epochs=2), data.test).loss < 1.1  # log 3


def test_the_same_seed_finds_and_tunes_the_same_network() -> None:
    def found() -> tuple[Any, list[Tensor]]:
        parts = [Flipped(*squares(count, seed)) for seed, count in enumerate(COUNTS)]
        data = sc.Data.of(*parts, task=sc.Segmentation(3))
        torch.manual_seed(0)
        net = sc.Supernet.of(TinyUnet(3).eval(), data.example)
        result = search(net, data)
        assert isinstance(result.bank, MemoryBank)
        torch.manual_seed(int(torch.randint(10**6, ())))  # the global state takes no part
        student = sc.finetune(net, result.best(), result.bank, data, epochs=1, views=1)
        return result.best(), list(student.state_dict().values())

    (one, weights), (other, others) = found(), found()
    assert one == other
    assert all(map(torch.equal, weights, others))


MINE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
import secateur as sc

def make():
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.Conv2d(8, 3, 1))

def maps():
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(3, (24, 8, 8), generator=generator) for _ in range(3)]
    return [TensorDataset(each[:, None].float(), each) for each in drawn]

def task():
    return sc.Segmentation(3)

def three():
    return 3
"""


def test_the_command_line_takes_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    save_model(sc.constructor("mine.py:make", 0)(), "weights.safetensors")
    line = ["run", "mine.py:make", "--weights", "weights.safetensors", "--data", "mine.py:maps", "--task"]
    short = ["--trials", "1", "--epochs", "1", "--views", "0", "--out", "out", "--anyway", "--json"]
    assert status([*line, "mine.py:task", *short]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert list(outcome["test"]["tuned"]["test"]["metric"]) == ["mIoU"]
    assert json.loads(Path("out/run.json").read_text())["asked"]["task"] == "mine.py:task"
    assert "test mIoU" in Path("out/report.html").read_text()
    assert status([*line, "mine.py:three", "--out", "other"]) != 0
    assert "mine.py:three returned int; return a task" in capsys.readouterr().err


def test_on_the_command_line_a_task_that_cannot_compare_outputs_is_tuned_by_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = "\ndef alone():\n    return sc.Task(loss=task().loss, metric=task().metric)\n"
    (tmp_path / "mine.py").write_text(MINE + alone)
    save_model(sc.constructor("mine.py:make", 0)(), "weights.safetensors")
    line = [
        "run",
        "mine.py:make",
        "--weights",
        "weights.safetensors",
        "--data",
        "mine.py:maps",
        "--task",
        "mine.py:alone",
    ]
    short = ["--method", "ce", "--trials", "1", "--epochs", "1", "--views", "0", "--out", "out", "--anyway", "--json"]
    assert status([*line, *short]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["bank"]["teachers"] == []
    assert outcome["transfer"]["method"] == "ce"
