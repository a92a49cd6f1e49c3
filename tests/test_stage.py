"""Stages of a run."""

from functools import partial
from pathlib import Path

import pytest

import secateur as sc
from secateur.rundir.manifest import Manifest
from secateur.rundir.outcomes import NetworkStage
from secateur.stages.stage import Stage, do_stages, require_stage


def stages(log: list[str]) -> list[Stage]:
    def do(name: str) -> NetworkStage:
        log.append(f"do {name}")
        return NetworkStage(epochs=1)

    def restore(name: str) -> None:
        log.append(f"restore {name}")

    return [Stage(name, partial(do, name), partial(restore, name)) for name in ("dense", "teacher")]


def test_each_stage_is_done_and_then_restored(tmp_path: Path) -> None:
    log: list[str] = []
    do_stages(stages(log), Manifest(tmp_path, sc.Ask()), "teacher")
    assert log == ["do dense", "restore dense", "do teacher", "restore teacher"]


def test_what_is_done_is_restored_alone_and_nothing_after_the_last_is_done(tmp_path: Path) -> None:
    log: list[str] = []
    do_stages(stages(log), Manifest(tmp_path, sc.Ask()), "dense")
    assert log == ["do dense", "restore dense"]
    do_stages(stages(log), Manifest(tmp_path, sc.Ask()), "teacher")
    assert log[2:] == ["restore dense", "do teacher", "restore teacher"]


def test_a_stage_that_a_method_does_not_have_is_refused() -> None:
    require_stage(stages([]), "teacher", "pdd")
    with pytest.raises(sc.SecateurError, match="--method pdd has no stage 'bank'; use secateur run"):
        require_stage(stages([]), "bank", "pdd")
