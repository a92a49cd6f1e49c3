"""A search that workers share on PostgreSQL, while they are killed and the server is restarted."""

import importlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import torch
from kills import Outcome, Unit
from optuna.trial import FrozenTrial, TrialState
from torch import nn

import secateur as sc
from secateur.data.images import Images
from secateur.progress import follow, silent
from secateur.search.coarse_to_fine import search_widths
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.search.records import Records
from secateur.search.refine import retries
from secateur.search.refine.database import driver, open_study
from secateur.search.samplers.samplers import SAMPLERS

WORKERS = 4
KILL, RESTART = 10.0, 45.0  # seconds between two kills, and between two restarts of the server
HEARTBEAT, GRACE = 2, 8  # seconds, in place of 15 and 60, so that much is taken for lost
IMAGES = 32


def units(trials: int, seed: int) -> Iterator[Unit]:
    """One search."""
    yield f"{trials} trials", partial(shared, trials, seed)


def shared(trials: int, seed: int) -> Outcome:
    """What comes of the search: whether each trial is complete once, and whether all workers end with one winner."""
    _import_all()
    begun, rng = time.monotonic(), random.Random(seed)
    with server() as (url, restart), tempfile.TemporaryDirectory() as place:
        workers = [started(url, trials, Path(place) / str(number)) for number in range(WORKERS)]
        kills, restarts = 0, 0
        while any(each.is_alive() for each in workers):
            time.sleep(0.5)
            if time.monotonic() - begun > KILL * (kills + 1):
                kills += 1
                victim = rng.randrange(WORKERS)
                if workers[victim].is_alive():
                    os.kill(workers[victim].pid or 0, signal.SIGKILL)
                    workers[victim].join()
            if time.monotonic() - begun > RESTART * (restarts + 1):
                restarts += 1
                restart()
            for number, each in enumerate(workers):
                if (
                    each.exitcode
                ):  # killed, or it could not even begin while the server was away: again, as a user would
                    workers[number] = started(url, trials, Path(place) / str(number))
        winners = {(Path(place) / str(number) / "winner").read_text() for number in range(WORKERS)}
        said = [path.read_text(errors="replace") for path in Path(place).glob("*/said")]
        about = judged(url, trials)
    wrong = [name for name, fine in {**about, "one winner": len(winners) == 1}.items() if fine is False]
    wrong += ["a traceback"] * any("Traceback" in each for each in said)
    outcome = "traceback" if "a traceback" in wrong else "another" if wrong else "identical"
    counts = {"kills": kills, "restarts": restarts, "seconds": round(time.monotonic() - begun)}
    return {
        "fault": "workers killed, server restarted",
        "outcomes": {outcome: trials},
        **about,
        **counts,
        "notes": wrong,
    }


def judged(url: str, trials: int) -> dict[str, int | bool]:
    """What became of all trials, over the studies of the search."""
    counts, once, widths = Counter[str](), True, 0
    for name in optuna.get_all_study_names(driver(url)):
        study = optuna.load_study(study_name=name, storage=driver(url))
        found = study.get_trials(deepcopy=False)
        counts += Counter(trial.state.name for trial in found)
        once &= completed_once(found)
        if not name.startswith(("coarse", "final")):
            widths = sum(each.state is TrialState.COMPLETE and "start" not in each.user_attrs for each in found)
    return {
        "all complete": widths == trials,
        "none twice": once,
        "none left running": counts["RUNNING"] == 0,
        **{f"trials {state.lower()}": count for state, count in sorted(counts.items())},
    }


def completed_once(trials: list[FrozenTrial]) -> bool:
    """Whether no trial and its repetitions are complete more than once."""
    first = Counter(retries.repeated(each) or each.number for each in trials if each.state is TrialState.COMPLETE)
    return max(first.values(), default=0) <= 1


def _import_all() -> None:
    """What a study imports when it is first opened, here and not in each worker."""
    with tempfile.TemporaryDirectory() as folder, open_study(f"sqlite:///{folder}/study.db", "name", ["loss"]):
        importlib.import_module("sqlalchemy.dialects.postgresql.psycopg")
        importlib.import_module("psycopg")


def started(url: str, trials: int, folder: Path) -> BaseProcess:
    """A worker, with all that is imported here."""
    folder.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=work, args=(url, trials, folder))
    process.start()
    return process


def work(url: str, trials: int, folder: Path) -> None:
    """The whole search, and its winner in a file; an error is a line on stderr and exit status 2."""
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    torch.set_num_threads(1)
    retries.HEARTBEAT, retries.GRACE = HEARTBEAT, GRACE
    net = network()
    records = Records(net, noise(), folder / "records.jsonl")
    budget = net.span("50%")
    how: dict[str, Any] = {"images": IMAGES, "scores": {"l1": l1}, "sampler": SAMPLERS["random"]}
    config = SearchConfig(budget, trials, storage=url, **how)
    try:
        found = follow(search_widths(records, config, folder), silent)
    except sc.SecateurError as error:
        os.write(2, f"secateur: {error}\n".encode())
        os._exit(2)
    (folder / "winner").write_text(found.winner.to_json())


def network() -> sc.Supernet:
    """A tiny one, the same in every process."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, width in ((3, 12), (12, 16), (16, 12)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)).eval()
    return sc.Supernet.of(model, torch.zeros(1, 3, 8, 8))


def noise() -> Images:
    """Images without meaning, the same in every process."""
    pixels = torch.randint(256, (IMAGES, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(IMAGES) % 4, (3, 8, 8))


@contextmanager
def server() -> Iterator[tuple[str, "partial[None]"]]:
    """A PostgreSQL server, its URL, and what restarts it at once, whatever it does."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    folder = subprocess.run(["mktemp", "-d"], user=user, capture_output=True, text=True, check=True).stdout.strip()
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def does(*command: str) -> None:
        line = [f"{programs}/{command[0]}", "-D", f"{folder}/data", *command[1:]]
        subprocess.run(line, user=user, check=True, stdout=subprocess.DEVNULL)

    does("initdb", "-U", "secateur", "-A", "trust", "--no-sync")
    how = ("-w", "-t", "300", "-l", f"{folder}/log", "-o", f"-p {port} -k {folder}")
    does("pg_ctl", *how, "start")
    try:
        yield (
            f"postgresql://secateur@127.0.0.1:{port}/postgres",
            partial(does, "pg_ctl", *how, "-m", "immediate", "restart"),
        )
    finally:
        does("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)
