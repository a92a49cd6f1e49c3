"""The curves of a training in TensorBoard's files."""

import sys
from pathlib import Path
from typing import Any

import pytest

from secateur.errors import SecateurError
from secateur.progress import Epoch, Observer
from secateur.reports.tensorboard import on_tensorboard


def epoch(number: int) -> Epoch:
    values: dict[str, Any] = {
        "loss": 1 / number,
        "learning_rate": 0.1,
        "seconds": 1.0,
        "holdout_loss": 0.25,
        "holdout": 0.5,
    }
    return Epoch(training="kd", epoch=number, epochs=2, step=number, steps=2, **values)


def test_every_epoch_is_a_point_of_each_curve(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen: list[Epoch] = []
    with on_tensorboard(Observer(on_epoch=seen.append), tmp_path) as observer:
        observer.on_epoch(epoch(1))
        observer.on_epoch(epoch(2))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert seen == [epoch(1), epoch(2)]
    assert [(each.step, each.value) for each in events.Scalars("kd/loss")] == [(1, 1.0), (2, 0.5)]
    assert [each.value for each in events.Scalars("kd/holdout accuracy")] == [0.5, 0.5]


def test_without_a_folder_the_observer_stays_as_it_is(tmp_path: Path) -> None:
    observer = Observer()
    with on_tensorboard(observer, None) as found:
        assert found is observer


def test_where_tensorboard_is_missing_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with (
        pytest.raises(SecateurError, match=r'pip install "secateur\[tensorboard\]"'),
        on_tensorboard(Observer(), tmp_path),
    ):
        pass
