"""Every figure of the READMEs is that of a result file; and the check of it notices what is wrong."""

import json
from pathlib import Path

import pytest
from claimed import Checker, Claim, Results, UnfoundedError

ROOT = Path(__file__).resolve().parents[1]
TEXT = "# ResNet-20\n\nAfter 3 epochs, labels alone have 86.2% (0.4),\n`kd` 86.9%.\n"
TIMES = {"arms": [{"method": "ce", "clip": None, "test": 0.8619, "std": 0.0038}, {"method": "kd", "test": 0.8688}]}
LABELS = Claim(
    "README.md",
    "labels alone have 86.2% (0.4), `kd` 86.9%",
    ("times.json > arms > method=ce > test", "times.json > arms > clip=null > std", "times.json > arms > 1 > test"),
    "%",
)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    (tmp_path / "times.json").write_text(json.dumps(TIMES))
    (tmp_path / "rows.jsonl").write_text('{"seconds": 2}\n{"seconds": 6}\n{"seconds": 7}\n')
    return Results(tmp_path)


def failures(results: Results, *claims: Claim, text: str = TEXT) -> list[str]:
    return Checker({"README.md": text}, claims, (r"ResNet-\d+", r"\d+ epochs"), results).failures()


def test_every_figure_of_the_readmes_is_that_of_a_result_file() -> None:
    found = Checker.of(ROOT, ["README.md", "docs/benchmarks.md", "benchmarks/README.md"]).failures()
    assert not found, "\n" + "\n".join(found)


def test_a_claim_holds_whose_figures_are_the_rounded_values(results: Results) -> None:
    assert failures(results, LABELS) == []


@pytest.mark.parametrize(("before", "after", "said"), [("86.2", "86.3", "86.3%"), ("(0.4)", "(0.3)", "0.3")])
def test_a_figure_that_is_not_its_sources_is_named_with_its_line(
    results: Results, before: str, after: str, said: str
) -> None:
    changed = Claim(LABELS.file, LABELS.text.replace(before, after), LABELS.sources, LABELS.unit)
    (line,) = failures(results, changed, text=TEXT.replace(before, after))
    assert line.startswith("README.md:3: ")
    assert f"says {said}, times.json" in line


def test_a_figure_without_a_claim_is_named_with_its_line(results: Results) -> None:
    (line,) = failures(results, LABELS, text=TEXT + "\nIt takes 12 s.\n")
    assert line.startswith("README.md:6: 12 in '…")
    assert "has no claim" in line


def test_code_comments_and_links_hold_no_figures(results: Results) -> None:
    text = "<!-- 1 -->\n```sh\nrun --flops 50%\n```\n`--seed 3` [a](results/7.json)\n"
    assert failures(results, text=text) == []


def test_the_output_of_a_command_holds_figures(results: Results) -> None:
    (line,) = failures(results, text="```\ndense 40.55M\n```\n")
    assert line.startswith("README.md:2: 40.55M")


def test_a_claim_that_the_text_no_longer_makes_is_named(results: Results) -> None:
    assert any("is claimed, but not in the text" in line for line in failures(results, LABELS, text="Rewritten.\n"))


def test_a_claim_needs_a_source_for_every_figure(results: Results) -> None:
    (line,) = failures(results, Claim(LABELS.file, LABELS.text, LABELS.sources[:2], "%"))
    assert "has 3 figures (86.2%, 0.4, 86.9%), 2 sources" in line


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("times.json > arms > 1 > test", 0.8688),
        ("least of rows.jsonl > * > seconds", 2),
        ("most of rows.jsonl > * > seconds", 7),
        ("mean of rows.jsonl > * > seconds", 5),
        ("median of rows.jsonl > * > seconds", 6),
        ("count of times.json > arms > *", 2),
        ("rows.jsonl > 1 > seconds over rows.jsonl > 0 > seconds", 3),
        ("1 less times.json > arms > method=ce > std", 1 - 0.0038),
    ],
)
def test_a_source_is_one_value(results: Results, source: str, value: float) -> None:
    assert results.value(source) == pytest.approx(value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.json > arms", "there is no none.json"),
        ("times.json > arms > method=dkd > test", "leads nowhere at 'method=dkd'"),
        ("rows.jsonl > * > seconds", "leads to 3 values"),
    ],
)
def test_a_source_that_leads_nowhere_is_named(results: Results, source: str, message: str) -> None:
    with pytest.raises(UnfoundedError, match=message):
        results.value(source)


@pytest.mark.parametrize(("written", "holds"), [("40.55M", True), ("40.6M", True), ("41M", True), ("40.5M", False)])
def test_decimals_say_how_a_figure_is_rounded(tmp_path: Path, written: str, holds: bool) -> None:
    (tmp_path / "cost.json").write_text('{"macs": 40551424}')
    claim = Claim("README.md", f"{written} MACs", ("cost.json > macs",))
    assert (failures(Results(tmp_path), claim, text=f"{written} MACs") == []) == holds
