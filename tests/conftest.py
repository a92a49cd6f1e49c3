"""Every device present, one thread a worker, and no skip that CI did not foresee."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # behind all else: one of them is called trace
FORESEEN_SKIPS = ("no GPU here", "no disk can be mounted here")  # how the reason of a skip may start when CI=true

settings.register_profile("secateur", deadline=None)  # no test fails on time
settings.load_profile("secateur")

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: workers must not share the cores
    os.environ["OMP_NUM_THREADS"] = "1"


def devices() -> list[torch.device]:
    """The CPU, and a GPU where there is one."""
    import torch

    names = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [torch.device(name) for name in names]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for ``device`` once on every device; torch is imported only for those."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", devices(), ids=str, scope="session")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, networks and weights, for lines that are typed there."""
    from commands import laid_out  # which imports torch

    return laid_out(tmp_path_factory.mktemp("place"))


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the working directory."""
    monkeypatch.chdir(place)
    return place


class UnforeseenSkips:
    """Fails the session when a test, or a whole module, is skipped for a reason nobody foresaw."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        where = report.longrepr
        reason = (where[2] if isinstance(where, tuple) else str(where)).removeprefix("Skipped: ")
        if not reason.startswith(FORESEEN_SKIPS):
            self.lines.append(f"unforeseen skip: {report.nodeid}: {reason}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.lines and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.lines:
            terminalreporter.write_line(line, red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Count skips only where CI runs; on a desk a skip is a skip."""
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(UnforeseenSkips(), "unforeseen-skips")
