"""What one network on one data set shares, and which images it reads for what."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import secateur as sc
from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.models.subnetwork import Subnetwork
from secateur.pipeline.session import Session


@pytest.fixture(scope="module")
def data() -> sc.Data:
    return sc.open_data("digits", (3, 16, 16))


@pytest.fixture(scope="module")
def net(data: sc.Data) -> sc.Supernet:
    torch.manual_seed(0)
    return sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)


def sealed(data: sc.Data, *splits: str) -> sc.Data:
    """The same data, the pixels of these splits unreadable."""

    def read(chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        raise AssertionError("a split was read that is none of its business")

    closed = replace(data, **{name: replace(getattr(data, name), read=read) for name in splits})
    closed.__dict__["fingerprint"] = data.fingerprint
    return closed


def half(net: sc.Supernet) -> Subnetwork:
    return Subnetwork.first(net.space.dense // 2)


def test_second_moments_are_gathered_once_and_on_training_images_alone(
    net: sc.Supernet, data: sc.Data, tmp_path: Path
) -> None:
    session = Session(net, sealed(data, "holdout", "test"), tmp_path)
    assert session.grams is session.grams
    open_session = Session(net, data, tmp_path)
    for name, gram in open_session.grams.items():
        assert all(map(torch.equal, session.grams[name].blocks, gram.blocks))


def test_what_is_only_pruned_is_refitted_and_recalibrated_on_training_images_alone(
    net: sc.Supernet, data: sc.Data, tmp_path: Path
) -> None:
    session = Session(net, sealed(data, "holdout", "test"), tmp_path)
    pruned = session.pruned(half(net))
    same = Session(net, data, tmp_path).pruned(half(net))
    assert evaluate(pruned, data.holdout) == evaluate(same, data.holdout)


def test_a_student_starts_from_training_images_alone(net: sc.Supernet, data: sc.Data, tmp_path: Path) -> None:
    session = Session(net, sealed(data, "holdout", "test"), tmp_path)
    student = session.finalise(session.initial_student(half(net)), half(net), {"method": "none"})
    assert not student.training
    assert sum(p.numel() for p in student.parameters()) == net.parameters(half(net))


def test_a_recipe_is_the_usual_one_in_the_precision_of_the_session(
    net: sc.Supernet, data: sc.Data, tmp_path: Path
) -> None:
    assert Session(net, data, tmp_path, "bfloat16").recipe(epochs=3) == sc.Recipe(epochs=3, bfloat16=True)
    assert Session(net, data, tmp_path, "float32").recipe() == sc.Recipe()


def test_a_finished_network_has_running_statistics_of_its_own_weights(
    net: sc.Supernet, data: sc.Data, tmp_path: Path
) -> None:
    student = sc.slim(net, net.dense)
    for name, running in student.named_buffers():
        if name.endswith("running_mean"):
            running += 1
    Session(net, data, tmp_path).finalise(student, net.dense, {"method": "none"})
    expected = sc.slim(net, net.dense)
    recalibrate_as_trained(expected, data.train)
    assert evaluate(student, data.holdout).loss == pytest.approx(evaluate(expected, data.holdout).loss, rel=1e-3)
