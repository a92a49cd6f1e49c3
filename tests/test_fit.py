"""What does not fit together is said before anything is searched or trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import secateur as sc
from secateur.pipeline.fit import class_numbers, output_size


def network(reads: int = 3, makes: int = 4) -> nn.Sequential:
    layers = [nn.Conv2d(reads, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, makes))


def given(targets: torch.Tensor, task: sc.Task | None = None, reads: int = 3) -> sc.Data:
    part = TensorDataset(torch.randn(len(targets), reads, 8, 8), targets)
    return sc.Data.of(part, part, part, task=task)


def traced(reads: int = 3, makes: int = 4) -> sc.Supernet:
    return sc.Supernet.of(network(reads, makes).eval(), torch.zeros(1, reads, 8, 8))


CLASSES = torch.arange(8) % 4


def mistaken(net: sc.Supernet, data: Any, budget: Any = "50%") -> str:
    """The line that both the search and fine-tuning answer with."""
    with pytest.raises(sc.SecateurError) as caught:
        sc.find(net, data, budget)
    if budget == "50%":
        with pytest.raises(sc.SecateurError) as again:
            sc.finetune(net, net.dense, None, data, method="ce", epochs=1)
        assert str(again.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bare_data_set_is_no_data() -> None:
    part = TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4))
    assert "of type TensorDataset; pass sc.Data.of(train, holdout, test)" in mistaken(traced(), part)


def test_a_network_that_was_not_traced_is_no_supernet() -> None:
    with pytest.raises(
        sc.SecateurError, match=r"net is of type Sequential; pass sc\.Supernet\.of\(model, data\.example\)"
    ):
        sc.find(network().eval(), given(CLASSES), "50%")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "meant"), [(0.5, '"50%"'), (0.25, '"25%"'), (2_000_000, '"2M"'), (None, 'pass "50%"'), ((1, 2), "62M")]
)
def test_a_number_is_no_budget(budget: Any, meant: str) -> None:
    assert meant in mistaken(traced(), given(CLASSES), budget)


def test_outputs_must_be_as_many_as_classes() -> None:
    assert "has 7 outputs and data has 4 classes" in mistaken(traced(makes=7), given(CLASSES))


def test_one_logit_for_two_classes_is_another_task() -> None:
    assert "has one logit and data has 2 classes" in mistaken(traced(makes=1), given(CLASSES % 2))
    assert "sc.MultiLabel()" in mistaken(traced(makes=1), given(CLASSES % 2))


def test_one_class_leaves_nothing_to_tell_apart() -> None:
    assert "has 1 class" in mistaken(traced(makes=1), given(CLASSES * 0))


def test_a_network_of_other_inputs_is_named() -> None:
    line = mistaken(traced(reads=4), given(CLASSES))
    assert "does not run on the samples of data (RuntimeError" in line


def test_a_network_of_maps_is_no_classifier() -> None:
    net = sc.Supernet.of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).eval(), torch.zeros(1, 3, 8, 8))
    assert "not one logit a class" in mistaken(net, given(CLASSES))


def test_targets_that_do_not_fit_the_task_are_named() -> None:
    assert "whose target is (3,)" in mistaken(traced(makes=2), given(torch.zeros(8, 3), sc.Regression()))


def test_fractions_are_no_classes() -> None:
    with pytest.raises(sc.SecateurError, match=r"no class numbers \(ValueError: a target is 0\.37\); .*sc.Regression"):
        given(torch.full((4,), 0.37))
    with pytest.raises(sc.SecateurError, match=r"no class numbers .*sc.MultiLabel"):
        given(torch.zeros(4, 3))


@pytest.mark.parametrize("task", [sc.Classification, "segmentation", nn.CrossEntropyLoss()])
def test_what_is_no_task_is_refused(task: Any) -> None:
    with pytest.raises(sc.SecateurError, match=r"^task.* pass sc.Classification\(\)"):
        given(CLASSES, task)


def test_a_size_is_for_images_that_are_decoded() -> None:
    part = TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4))
    with pytest.raises(sc.SecateurError, match=r"shape=\(3, 16, 16\).* for images that are decoded here; leave"):
        sc.Data.of(part, part, part, shape=(3, 16, 16))


def test_the_size_of_an_output_counts_every_number() -> None:
    net, data = traced(makes=2), given(torch.zeros(8, 2), sc.Regression())
    assert (output_size(net, data).numbers, output_size(net, data).channels) == (2, 2)
    net, data = traced(), given(CLASSES)
    assert (output_size(net, data).numbers, output_size(net, data).channels) == (4, 4)


def test_a_task_of_ones_own_may_know_the_classes_of_its_samples() -> None:
    def error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).square().mean(1)

    def bright(target: torch.Tensor) -> torch.Tensor:
        return (target[:, 0] > 0).long()

    targets = torch.randn(8, 2)
    plain, contrastive = sc.Task(error, error), sc.Task(error, error, negatives=bright)
    assert class_numbers(given(targets, plain).train) is None
    found = class_numbers(given(targets, contrastive).train)
    assert found is not None
    assert torch.equal(found, bright(targets))
