"""The page about runs, as text and in a browser."""

import json
import re
import shutil
import subprocess
from math import nan
from pathlib import Path

import pytest
from left import searched, tuned

from secateur.__main__ import main
from secateur.reports.page import about, report
from secateur.rundir.classes import Classes, ClassRow, write_classes
from secateur.rundir.results import Results

# What a browser adds to the page: labels of one plot that lie over each other.
OVERLAPS = """<script>
const over = [];
for (const svg of document.querySelectorAll("svg")) {
  const all = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
  all.forEach(([one, a], n) => all.slice(n + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    if (wide > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1) over.push(one + " / " + other);
  }));
}
document.body.dataset.over = JSON.stringify(over);
</script>"""
KINDS = {
    "whole": lambda folder: [tuned(folder / "run")],
    "searched": lambda folder: [searched(folder / "run")],
    "one trial": lambda folder: [tuned(folder / "run", losses=(0.4,))],
    "no numbers": lambda folder: [searched(folder / "run", losses=(nan, nan))],
    "two runs": lambda folder: [tuned(folder / "one"), searched(folder / "two")],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_every_kind_has_its_page(kind: str, tmp_path: Path) -> None:
    page = report(*KINDS[kind](tmp_path))
    html = page.read_text()
    for shown in ("accuracy", "Front", "Search", "Widths", "layer1.0.conv1", "is an output of the network", "Again"):
        assert shown in html
    assert ("97.12%" in html) == (kind in ("whole", "one trial", "two runs"))
    assert "n = " in html
    assert "http:" not in html.replace("http-equiv", "")
    assert {path.name for path in page.parent.iterdir()} >= {"pareto.png", "pareto.svg", "front.csv"}


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = tuned(tmp_path / "run")
    files = ("report.html", "pareto.svg", "pareto.png", "front.csv")
    report(folder)
    before = [(folder / name).read_bytes() for name in files]
    report(folder)
    assert [(folder / name).read_bytes() for name in files] == before


def test_words_of_the_user_are_no_markup(tmp_path: Path) -> None:
    html = report(tuned(tmp_path / "<b>x"), searched(tmp_path / "two")).read_text()
    assert "<b>x" not in html
    assert "&lt;b&gt;x" in html


def test_secateur_report_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(tuned(tmp_path / "one")), str(searched(tmp_path / "two"))]
    with pytest.raises(SystemExit) as ended:
        main(["report", *runs, "--out", str(tmp_path / "both"), "--measure", "accuracy", "--json"])
    assert ended.value.code == 0
    files = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in files.values()] == list(files)
    assert "one" in Path(files["front.csv"]).read_text()
    assert (tmp_path / "both" / "report.html").exists()


def test_without_a_run_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report"])
    assert capsys.readouterr().err == "secateur: no run directory was passed; pass one or more\n"


def test_what_evaluate_measured_stands_in_the_page(tmp_path: Path) -> None:
    folder = tuned(tmp_path / "run")
    dense, slim = ({"low": t, "median": t, "high": t, "n": 9} for t in (0.008, 0.005))
    latency = [{"engine": "torch", "batch": 1, "dense": dense, "slim": slim, "speedup": 1.6}]
    divisors = {"torch": {"seconds": {}, "suggested": 8}, "other": {"seconds": {}, "suggested": 1}}
    about = {
        "networks": {},
        "torch": "2",
        "device": "this machine",
        "threads": 1,
        "macs_saved": 0.5,
        "divisors": divisors,
    }
    (folder / "evaluation.json").write_text(json.dumps({"latency": latency, **about}))
    html = report(folder).read_text()
    for shown in (
        "8 ms",
        "5 ms",
        "1.60 x",
        "One image is 1.60 times as fast in torch",
        "this machine, 1 thread.",
        "torch: --divisor 8 pays, other: no --divisor pays",
    ):
        assert shown in html


def test_the_winner_says_what_it_costs_and_reaches(tmp_path: Path) -> None:
    folder = tuned(tmp_path / "run")
    winner = Results.of(folder).front.winner
    said = f"loss {winner.score.loss:.4f}, {winner.score}"
    assert said in report(folder).read_text()
    assert "winner, on the whole holdout: " in report(folder).read_text()


def test_a_browser_shows_it_without_complaint(tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("no chromium here: the page is not looked at")
    page = report(tuned(tmp_path / "one"), searched(tmp_path / "two"))
    page.write_text(page.read_text() + OVERLAPS)
    line = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*line, page.as_uri()], capture_output=True, text=True, timeout=120)
    dom = done.stdout
    assert [said for said in done.stderr.splitlines() if "CONSOLE" in said] == []  # errors, and what CSP had to stop
    assert dom.count("<svg") == 5  # front, search, two times widths, fine-tuning
    assert dom.count("aria-label=") == 2 * len(["two of the front", "two of the front", "winner", "dense"])
    assert 'aria-label="one: winner, on the whole holdout: ' in dom  # the script ran
    assert 'data-over="[]"' in dom


def test_the_page_says_what_was_asked_on_which_images_when_and_where(tmp_path: Path) -> None:
    run = Results.of(tuned(tmp_path / "run"))
    said = about(run)
    assert said.startswith("Asked: resnet20 on digits at 10%. Images: ")
    assert "359 to test" in said
    assert re.search(r"Begun 20\d\d-\d\d-\d\d on \w+ \w+, \d+ cores\.$", said)
    assert said in page(report(tmp_path / "run"))


def test_a_run_of_an_earlier_version_says_less(tmp_path: Path) -> None:
    book = json.loads((tuned(tmp_path / "run") / "run.json").read_text())
    del book["began"], book["blake2b"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(book))
    assert about(Results.of(tmp_path / "run")).endswith("359 to test.")


def test_the_page_shows_what_teachers_are_worth_and_which_widths_paid(tmp_path: Path) -> None:
    path = tuned(tmp_path / "run") / "run.json"
    assert "<h2>Teachers</h2>" not in report(path.parent).read_text()
    book = json.loads(path.read_text())
    del book["blake2b"]
    judged = {"macs": 3_000_000, "loss": 0.4, "gain": 0.0123, "error": 0.002, "taken": True}
    book["stages"]["bank"]["candidates"] = [{**judged, "macs": 4_000_000}, judged]
    book["fingerprints"]["steps of widths"] = "8 (2 groups)"
    path.write_text(json.dumps(book))
    html = report(path.parent).read_text()
    assert "<h2>Teachers</h2>" in html
    assert "+0.0123" in html
    assert "Multiples of 8 (2 groups): the smallest that paid in torch" in html


def classes_of(count: int) -> Classes:
    """So many classes, of which the last lost most."""
    rows = (ClassRow(name=f"kind {n}", n=50, dense=0.9, pruned=0.5, tuned=0.9 - n / 1000) for n in range(count))
    return Classes(metric="accuracy", rows=tuple(rows))


def test_a_few_classes_are_all_shown_and_of_a_hundred_the_ten_that_lost_most_with_the_rest_behind_a_click(
    tmp_path: Path,
) -> None:
    folder = tuned(tmp_path / "run")
    assert "<h2>Classes" not in page(report(folder))  # a run of an earlier version has no such file
    write_classes(classes_of(10), folder / "best")
    assert page(report(folder)).count(">kind ") == 10
    write_classes(classes_of(100), folder / "best")
    shown, rest = page(report(folder)).split("<details>")
    assert [f">kind {n} " in shown for n in (99, 90, 89, 0)] == [True, True, False, False]
    assert rest.count(">kind ") == 100


def test_columns_keep_their_names_where_a_row_becomes_a_card(tmp_path: Path) -> None:
    html = page(report(tuned(tmp_path / "run")))
    assert html.count('data-column="test accuracy"') == len(["dense", "only pruned", "fine-tuned"])
    assert html.count("<table class=cards>") == 1


def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")
