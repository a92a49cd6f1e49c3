"""Layers timed in each runtime."""

import time

import numpy as np
import pytest
import torch
from chains import plain

from secateur.errors import SecateurError
from secateur.models.surgery.slim import slim
from secateur.models.timing.layer_timers import LayerTimer, conditions, layer_timer

NET = plain((8, 12))
LAYERS = len(NET.space.costs.products) + 1


@pytest.fixture(scope="module", params=["torch", "onnxruntime"])
def timer(request: pytest.FixtureRequest) -> LayerTimer:
    return layer_timer(NET, slim(NET, NET.dense).eval(), NET.examples, request.param)


def test_every_pass_has_the_seconds_of_each_layer(timer: LayerTimer) -> None:
    whole = timer.whole()
    start = time.perf_counter()
    for _ in range(3):
        timer.run()
    taken = time.perf_counter() - start
    seconds = timer.seconds()
    assert seconds.shape == (3, LAYERS)
    assert (seconds[:, 1:] > 0).all()
    assert np.isfinite(seconds).all()
    assert seconds.sum() <= taken
    assert whole > 0


def test_the_network_stays_where_and_what_it_was() -> None:
    before = {name: tensor.clone() for name, tensor in NET.model.state_dict().items()}
    layer_timer(NET, NET.model.eval(), NET.examples).run()
    assert all(torch.equal(before[name], tensor) for name, tensor in NET.model.state_dict().items())


def test_several_inputs_are_not_for_onnxruntime() -> None:
    with pytest.raises(SecateurError, match="2 inputs"):
        layer_timer(NET, NET.model, NET.examples * 2, "onnxruntime")


def test_conditions_name_another_runtime_than_torch() -> None:
    assert "runtime" not in conditions(NET)
    assert conditions(NET, "onnxruntime")["runtime"] == "onnxruntime"
