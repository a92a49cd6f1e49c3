from collections.abc import Iterator
from copy import deepcopy
from math import exp, log
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import TensorDataset

from secateur.data.dataset import Data
from secateur.models.evaluate import (
    batch_statistics,
    device_of,
    embed,
    evaluate,
    evaluate_as_is,
    outputs,
    recalibrate,
    recalibrate_as_trained,
)
from secateur.models.score import Score
from secateur.models.split import Batch, Views
from secateur.models.tasks.classification import Classification
from secateur.models.zoo.resnet import resnet20


class Images:
    """A split of given images, in their order."""

    content = ""
    task = Classification()

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        for part in torch.split(torch.arange(len(self))[:limit], size):
            yield Batch(self.images[part], self.labels[part], part)

    def steps(self, size: int) -> int:
        raise AssertionError("evaluation never trains")

    def epoch(self, size: int, seed: int, views: int = 1, start: int = 0, **other: object) -> Iterator[Views]:
        raise AssertionError("evaluation never trains")


def images(n: int, size: int = 8) -> Images:
    g = torch.Generator().manual_seed(0)
    return Images(torch.randn(n, 3, size, size, generator=g) * 2 + 1, torch.randint(10, (n,), generator=g))


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_batch_statistics_are_those_of_functional_batch_norm_in_training() -> None:
    norm = nn.BatchNorm2d(3).eval()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = images(16).images
    by_hand = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    with batch_statistics(norm):
        assert torch.equal(norm(x), by_hand)
    assert not torch.allclose(norm(x), by_hand)


@pytest.mark.parametrize("training", [True, False])
def test_batch_statistics_leave_running_ones_and_modes_as_they_were(training: bool) -> None:
    model = resnet20().train(training)
    norms(model)[3].train(not training)
    before, modes = state(model), [module.training for module in model.modules()]
    buffers = [id(buffer) for buffer in model.buffers()]
    with batch_statistics(model):
        model(images(4).images)
    assert same(before, state(model))
    assert modes == [module.training for module in model.modules()]
    assert buffers == [id(buffer) for buffer in model.buffers()]


def test_batch_statistics_put_everything_back_after_an_error() -> None:
    model = resnet20().train()
    before = state(model)

    def fails() -> None:
        with batch_statistics(model):
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert same(before, state(model))
    assert all(module.training for module in model.modules())


def test_dropout_stays_off_with_batch_statistics() -> None:
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.Dropout(0.5), norm).train()
    x = images(16).images
    with batch_statistics(model):
        assert torch.equal(model(x), F.batch_norm(x, None, None, norm.weight, norm.bias, training=True))


def test_recalibrated_statistics_are_those_of_update_bn_over_the_same_batches() -> None:
    model, split = resnet20().eval(), images(1100)
    reference = deepcopy(model)
    update_bn([batch.images for batch in split.batches(500)], reference)
    recalibrate(model, split)
    assert [int(n.num_batches_tracked) for n in norms(model) if n.num_batches_tracked is not None] == [3] * 19
    for ours, theirs in zip(model.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_recalibration_forgets_the_old_statistics_and_is_repeatable() -> None:
    model, split = resnet20(), images(200)
    recalibrate(model, split)
    once = state(model)
    for norm in norms(model):
        assert norm.running_mean is not None
        norm.running_mean.fill_(1e6)
    recalibrate(model, split)
    assert same(once, state(model))


def test_recalibration_changes_statistics_alone() -> None:
    model = resnet20().train()
    before, modes = state(model), [module.training for module in model.modules()]
    recalibrate(model, images(50))
    after = state(model)
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert modes == [module.training for module in model.modules()]
    assert {norm.momentum for norm in norms(model)} == {0.1}
    assert all(p.grad is None for p in model.parameters())


def test_recalibration_takes_so_many_images_as_asked() -> None:
    few, all_ = resnet20(), images(300)
    some = deepcopy(few)
    recalibrate(few, all_, images=100)
    recalibrate(some, Images(all_.images[:100], all_.labels[:100]))
    assert same(state(few), state(some))


def test_what_was_trained_is_recalibrated_over_the_views_of_training() -> None:
    noise, model = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8), resnet20()
    split = Data.of(*[TensorDataset(noise, torch.arange(40) % 4)] * 3).train
    reference = deepcopy(model)
    update_bn([views.images[0] for views in split.epoch(500, 0)], reference)
    recalibrate_as_trained(model, split)
    for ours, theirs in zip(model.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    recalibrate(reference, split)
    assert not same(state(model), state(reference))


def test_recalibration_leaves_a_network_without_batch_norm_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    before = state(model)
    recalibrate(model, images(4))
    assert same(before, state(model))


def test_loss_and_accuracy_are_the_written_out_ones() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    found = evaluate_as_is(nn.Identity(), Images(logits, torch.tensor([0, 0, 1, 1])))
    losses = [log(2), log(1 + exp(-1)), log(1 + exp(-2)), log(1 + exp(3))]
    assert found.loss == pytest.approx(sum(losses) / 4, abs=1e-6)
    assert (found.accuracy, found.n) == (0.75, 4)


def test_a_last_batch_that_is_smaller_counts_by_its_images() -> None:
    g = torch.Generator().manual_seed(0)
    split = Images(torch.randn(1203, 10, generator=g), torch.randint(10, (1203,), generator=g))
    found = evaluate_as_is(nn.Identity(), split)
    assert found.loss == pytest.approx(float(F.cross_entropy(split.images, split.labels)), rel=1e-5)
    assert found.accuracy == pytest.approx(float((split.images.argmax(1) == split.labels).float().mean()))
    assert found.n == 1203


def test_a_limit_scores_the_first_images() -> None:
    g = torch.Generator().manual_seed(0)
    split = Images(torch.randn(900, 10, generator=g), torch.randint(10, (900,), generator=g))
    assert evaluate_as_is(nn.Identity(), split, 700) == evaluate_as_is(
        nn.Identity(), Images(split.images[:700], split.labels[:700])
    )


def test_outputs_come_with_their_labels_and_positions() -> None:
    split = images(600)
    model = resnet20().eval()
    with torch.no_grad():
        expected = model(split.images)
    logits, labels, indices = (torch.cat(part) for part in zip(*outputs(model, split), strict=True))
    torch.testing.assert_close(logits, expected)
    assert not logits.requires_grad
    assert torch.equal(labels, split.labels)
    assert torch.equal(indices, torch.arange(600))


def test_evaluate_uses_running_statistics_whatever_the_mode_and_puts_it_back() -> None:
    model, split = resnet20().eval(), images(20)
    expected = evaluate_as_is(model, split)
    model.train()
    before = state(model)
    assert evaluate(model, split) == expected
    assert all(module.training for module in model.modules())
    assert same(before, state(model))


def test_scores_come_from_the_device_of_the_model(device: torch.device) -> None:
    model = resnet20().to(device)
    assert device_of(model).type == device.type
    recalibrate(model, images(20))
    assert evaluate(model, images(20)).n == 20


@pytest.mark.parametrize(
    ("head", "read", "embedding"),
    [
        (nn.Conv2d(2, 3, 1), [[[[1.0, 3.0]], [[0.0, 10.0]]]], [[2.0, 5.0]]),  # two places of two channels
        (nn.Linear(2, 3), [[[1.0, 0.0], [3.0, 10.0]]], [[2.0, 5.0]]),  # two tokens of two features
        (nn.Linear(2, 3), [[1.0, 0.0], [3.0, 10.0]], [[1.0, 0.0], [3.0, 10.0]]),  # two images
    ],
)
def test_an_embedding_is_the_mean_over_the_places_that_the_head_reads(
    head: nn.Module, read: Any, embedding: list[list[float]]
) -> None:
    model = nn.Sequential(nn.Identity(), head)
    with torch.no_grad():
        logits, features = embed(model, "1", torch.tensor(read))
        assert torch.equal(logits, head(torch.tensor(read)))
    assert features.tolist() == embedding
    assert not head._forward_pre_hooks


def test_logits_stand_for_the_embedding_of_a_network_without_a_head() -> None:
    images = torch.randn(4, 3)
    logits, features = embed(nn.Identity(), None, images)
    assert torch.equal(logits, images)
    assert torch.equal(features, images)


def test_maps_without_a_head_stand_for_the_embedding_by_their_mean_over_places() -> None:
    images = torch.randn(4, 3, 2, 2)
    maps, features = embed(nn.Identity(), None, images)
    assert torch.equal(maps, images)
    torch.testing.assert_close(features, images.mean((2, 3)))


def test_a_model_without_tensors_is_on_the_cpu() -> None:
    assert device_of(nn.Identity()) == torch.device("cpu")


def test_a_score_shows_its_metric_and_leaves_out_what_it_has_not() -> None:
    accuracy, error = Score(0.5, 0.25, 8), Score.of("MAE", 0.125, loss=0.5, n=8)
    assert (str(accuracy), str(error)) == ("25.00%", "0.125 MAE")
    assert accuracy.to_dict() == {"loss": 0.5, "accuracy": 0.25, "n": 8}
    assert error.to_dict() == {"loss": 0.5, "n": 8, "metric": {"MAE": 0.125}}
    assert (error.measured("loss"), error.measured("accuracy")) == (0.5, 0.125)
    with pytest.raises(ValueError, match="n=0"):
        Score(0.5, 0.25, 0)
