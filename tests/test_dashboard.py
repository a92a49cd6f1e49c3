"""optuna-dashboard opens the study that a search leaves."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch
from chains import plain

from secateur.data.images import Images
from secateur.models.supernet import Supernet
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.search.records import Records
from secateur.search.refine.fine_search import refine

TRIALS, PATIENCE = 2, 120.0  # seconds until it answers
NET: Supernet = plain((8, 12))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard over the study of a search for a range of budgets."""
    images = Images(
        lambda chunks: (torch.zeros(len(c), 3, 8, 8).byte() for c in chunks), torch.arange(8) % 4, (3, 8, 8)
    )
    starts, storage = [NET.space.min_widths], f"sqlite:///{tmp_path / 'study.db'}"
    config = SearchConfig(NET.span("30%..70%"), TRIALS, images=8, storage=storage)
    list(refine(Records(NET, images), l1(NET), starts, config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), storage, "--port", port, "--host", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def reached(address: str) -> bool:
    try:
        with urlopen(address, timeout=PATIENCE):
            return True
    except URLError:
        return False


def asked(address: str) -> dict[str, list[dict[str, object]]]:
    """The answer, as soon as there is one."""
    end = time.monotonic() + PATIENCE
    while not reached(address) and time.monotonic() < end:
        time.sleep(0.2)
    with urlopen(address, timeout=PATIENCE) as answer:
        found: dict[str, list[dict[str, object]]] = json.load(answer)
    return found


def test_it_lists_the_study_with_its_directions_and_its_trials(site: str) -> None:
    (study,) = asked(f"{site}/api/studies")["study_summaries"]
    assert study["directions"] == ["minimize", "minimize"]
    trials = asked(f"{site}/api/studies/{study['study_id']}")["trials"]
    assert [trial["state"] for trial in trials] == ["Complete"] * (TRIALS + 1)
    assert {each["name"] for each in trials[0]["params"]} == {group.name for group in NET.groups}  # type: ignore[attr-defined]
