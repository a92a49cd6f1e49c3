"""Features on kept channels: the formula, and that a student is trained by it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from equality import random_subnetwork, randomised
from structures import OptionA, Res2Net
from torch import Tensor, nn
from toys import Grouped
from trainings import coloured

import secateur as sc
from secateur.models.evaluate import embed
from secateur.models.module_outputs import block_ends, outputs_of
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim
from secateur.models.tracing.modules import evaluating
from secateur.transfer.losses import kl
from secateur.transfer.objectives.aligned import AlignedConfig, AlignedTransfer, KeptFeatures
from secateur.transfer.objectives.base import OnlineTeacher, StudentBatch, label_loss
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

BOTH = AlignedConfig(embedding_weight=2.0, map_weight=3.0)
FEATURES_ALONE = AlignedConfig(label_weight=0.0, teacher_weight=0.0, embedding_weight=1.0)
LABELS = torch.arange(6) % 4


class Plain(nn.Module):
    """Two feature maps, 6 and 8 channels, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, 2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.second(self.first(x)).mean((2, 3))))


HALF = Subnetwork(((0, 2, 5), (1, 3, 4, 6)))


def supernet(make: Callable[[], nn.Module] = Plain, pixels: int = 8) -> Supernet:
    torch.manual_seed(0)
    example = torch.zeros(1, 3, pixels, pixels)
    return Supernet.of(randomised(make(), example).eval(), example, check=False)


def objective(net: Supernet, student: Subnetwork, config: AlignedConfig = BOTH) -> AlignedTransfer:
    return AlignedTransfer(OnlineTeacher(net.model, net.head), KeptFeatures.of(net, student), config)


def batch_of(model: nn.Module, wanted: AlignedTransfer, views: int = 1, pixels: int = 8) -> StudentBatch:
    images = torch.randn(views, 6, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    with evaluating(model), outputs_of(model, wanted.features) as features:
        logits, embeddings = embed(model, wanted.dense.head, images.flatten(0, 1))
    logits, embeddings = (x.view(views, 6, -1) for x in (logits, embeddings))
    return StudentBatch(logits, embeddings, LABELS, torch.arange(6), images, features=features)


@pytest.mark.parametrize("make", [Plain, OptionA])
def test_the_dense_network_as_its_own_student_has_the_loss_of_the_labels_alone(make: Callable[[], nn.Module]) -> None:
    net = supernet(make)
    wanted = objective(net, net.dense)
    batch = batch_of(net.model, wanted)
    torch.testing.assert_close(wanted(batch), 0.1 * label_loss(batch))


def test_the_loss_is_the_formula_on_channels_picked_by_hand() -> None:
    net, student = supernet(), HALF
    wanted, small = objective(net, student), slim(net, student)
    batch = batch_of(small, wanted, views=2)
    images = batch.images.flatten(0, 1)
    assert isinstance(net.model, Plain)
    assert isinstance(small, Plain)
    first = net.model.first(images)
    second = net.model.second(first)
    pooled = second.mean((2, 3))
    expected = 0.1 * label_loss(batch) + 0.9 * kl(net.model.head(pooled).view(2, 6, 4), batch.logits).mean()
    own_first = small.first(images)
    own_second = small.second(own_first)
    pairs = [(3.0, own_first, first, (0, 2, 5)), (3.0, own_second, second, (1, 3, 4, 6))]
    for weight, own, teacher, kept in [*pairs, (2.0, own_second.mean((2, 3)), pooled, (1, 3, 4, 6))]:
        terms = [
            (own[:, place] - teacher[:, channel]).square().mean() / teacher[:, channel].var(correction=0)
            for place, channel in enumerate(kept)
        ]
        expected = expected + weight * sum(terms) / len(terms)
    torch.testing.assert_close(wanted(batch), expected)


def test_a_weight_of_zero_asks_for_no_maps() -> None:
    assert objective(supernet(), HALF, replace(BOTH, map_weight=0.0)).features == ()
    assert objective(supernet(), HALF).features == ("first", "second")


def test_the_choice_of_maps_is_an_argument() -> None:
    net = supernet(OptionA)
    kept = KeptFeatures.of(net, net.dense, lambda maps: block_ends(net, maps)[:2])
    assert list(kept.maps) == ["stem", "block1"] or list(kept.maps) == ["block1", "block2"]


@pytest.mark.parametrize(
    "make", [OptionA, Grouped, Res2Net, sc.constructor("mobilenetv2", 4)], ids=["option-A", "grouped", "res2net", "v2"]
)
def test_gradients_are_finite_and_reach_every_weight_before_the_maps(make: Callable[[], nn.Module]) -> None:
    net = supernet(make, 16)
    student = random_subnetwork(net, 0)
    wanted, small = objective(net, student, FEATURES_ALONE), slim(net, student)
    assert wanted.features
    wanted(batch_of(small, wanted, pixels=16)).backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in small.named_parameters() if p.grad is not None}
    assert all(bool(each.isfinite().all()) for each in gradients.values())
    first = next(iter(small.parameters()))
    assert first.grad is not None
    assert float(first.grad.abs().max()) > 0
    assert all(p.grad is None for p in net.model.parameters())


class Tokens(nn.Module):
    """No feature map, and no single last layer: what is left is distillation."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(2).transpose(1, 2)).relu().mean(1)
        return torch.cat([self.one(x), self.two(x)], 1)


def test_without_maps_and_head_distillation_is_left() -> None:
    net = supernet(Tokens)
    student = random_subnetwork(net, 0)
    wanted = objective(net, student)
    assert (wanted.features, wanted.kept.embedding) == ((), None)
    batch = batch_of(slim(net, student), wanted)
    teacher = net.model(batch.images[0])[None]
    torch.testing.assert_close(wanted(batch), 0.1 * label_loss(batch) + 0.9 * kl(teacher, batch.logits).mean())


def trained(folder: Path, stop: int | None = None) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of two epochs, and the weights that the student ends with."""
    net, losses = supernet(), list[float]()
    small, recipe = slim(net, HALF), Recipe(epochs=2, batch=10, checkpoint_every=4, learning_rate=0.02, micro_batches=2)
    wanted = objective(net, HALF, FEATURES_ALONE)
    for step in train(small, coloured(), wanted, recipe, head="head", folder=folder):
        losses.append(step.loss)
        if step.step == stop:
            break
    return losses, small.state_dict()


def test_training_brings_the_features_nearer_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    losses, whole = trained(tmp_path / "whole")
    assert max(losses[-3:]) < min(losses[:3])
    trained(tmp_path / "parts", stop=7)
    resumed, weights = trained(tmp_path / "parts")
    assert resumed == losses[4:]
    assert all(torch.equal(whole[name], weights[name]) for name in whole)
