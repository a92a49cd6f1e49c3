"""A fresh interpreter that a signal ends early, at a random moment of its imports and first steps."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from kills import LINES, Outcome, Unit, left, leftovers, placed, run, said_by, used, whole

from secateur.signals import LINE

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SOONEST = 0.15  # seconds of processor time: before, Python itself starts, and knows no handler
SPARE = 1.2  # of the time until the first stage ends


def units(starts: int, seed: int, folder: Path) -> Iterator[Unit]:
    """Each signal in turn."""
    for number in range(starts):
        rng = random.Random(f"start {seed} {number}")
        yield f"start {number}", partial(stopped, SIGNALS[number % len(SIGNALS)], rng, folder / f"start {number}")


def stopped(sent: signal.Signals, rng: random.Random, folder: Path) -> Outcome:
    """What a signal at a random moment leaves, and what the same command makes of that."""
    seconds, expected = whole("search", folder.parent)
    moment = SOONEST + rng.random() * SPARE * (importing() + seconds["start"] + seconds["dense"])
    place = placed(folder)
    status, waited = ended(place, moment, sent)
    said, text = said_by(place), (place / "said").read_text()
    again = run(LINES["search"], place)
    found = {} if again else left(place / "run")
    wrong = ["another status"] * (status != 128 + sent) + ["another line"] * (said != [LINE])
    wrong += ["left over"] * bool(leftovers(place / "run"))
    wrong += sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    outcome = "traceback" if "Traceback" in text else "another" if wrong else "identical"
    about = {"at": round(moment, 2), "of": round(importing(), 2), "seconds": round(waited, 2), "status": status}
    return {"fault": f"{sent.name}, fresh start", "outcomes": {outcome: 1}, **about, "notes": wrong}


def ended(place: Path, moment: float, sent: signal.Signals) -> tuple[int, float]:
    """A command's status, and the seconds that it took to end, when it is sent a signal at this moment."""
    line = [sys.executable, "-m", "secateur", *LINES["search"]]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (place / "said").open("w+") as said:
        process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=said, cwd=place, env=threads, preexec_fn=_heed
        )
        while process.poll() is None and used(process.pid) < moment:
            time.sleep(0.005)
        process.send_signal(sent)
        begun = time.monotonic()
        return process.wait(), time.monotonic() - begun


def _heed() -> None:
    """Take the signals, even where the shell of this program ignores them."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)


@cache
def importing() -> float:
    """The processor seconds of a fresh interpreter that imports all that a run does."""
    process = subprocess.Popen([sys.executable, "-c", "import secateur.__main__, secateur.stages.run"])
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime
