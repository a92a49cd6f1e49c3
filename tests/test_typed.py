from pathlib import Path

import pytest

from secateur.errors import SecateurError
from secateur.pipeline.typed import with_typed
from secateur.rundir.config import ask

RUN = Path("runs/mine")


def test_what_was_typed_stands_where_the_run_names_code() -> None:
    config = ask("net.py:make", data="net.py:images", weights="w.pt")
    typed = with_typed(config, RUN, model="other.py:make", data="net.py:images")
    assert typed == config.with_options(model="other.py:make")


def test_names_of_this_package_need_not_be_typed() -> None:
    config = ask("torchvision:resnet18", data="imagefolder:images", weights="w.pt")
    assert with_typed(config, RUN, model=None, data=None) == config


def test_both_options_are_said_where_neither_was_typed() -> None:
    config = ask("net.py:make", data="net.py:images", weights="w.pt")
    with pytest.raises(SecateurError, match=r"mine.run\.json names .*: --model net\.py:make --data net\.py:images$"):
        with_typed(config, RUN, model=None, data=None)


def test_what_is_not_needed_is_not_asked_for() -> None:
    config = ask("resnet20", data="net.py:images", weights="w.pt")
    assert with_typed(config, RUN, model=None) == config


def test_a_task_is_always_code() -> None:
    config = ask("resnet20", data="digits", task="net.py:task")
    with pytest.raises(SecateurError, match=r"names the code net\.py:task, .*: --task net\.py:task$"):
        with_typed(config, RUN, model=None, task=None)
    assert with_typed(config, RUN, task="other.py:task") == config.with_options(task="other.py:task")
