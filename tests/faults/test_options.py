"""Options, budgets and tables of any text: a value, or an error of one line."""

from pathlib import Path
from typing import Any

import pytest
from chains import plain
from hypothesis import given
from hypothesis import strategies as st
from left import tuned
from nasty import NASTY

import secateur as sc
from secateur.errors import SecateurError
from secateur.reports.pareto import compared
from secateur.rundir.options import parse_shape
from secateur.rundir.results import Results

NET = plain((4, 6))
OPTIONS = ["flops", "params", "memory", "latency", "input", "data", "sampler", "precision"]
TEXTS = st.sampled_from(NASTY) | st.text(max_size=8) | st.from_regex(r"[0-9.%eMGk²x-]{1,8}", fullmatch=True)


def in_one_line(function: Any, *args: Any, **options: Any) -> None:
    """Call a function that may refuse what it is passed, in one line alone."""
    try:
        function(*args, **options)
    except SecateurError as error:
        said = str(error)
    else:
        return
    assert "\n" not in said
    assert len(said) < 1_000


@pytest.mark.parametrize("value", NASTY, ids=lambda value: ascii(value)[:9])
def test_a_nasty_budget_is_read_or_refused_in_one_line(value: str) -> None:
    for text in (value, f"{value}%", f"{value}M", f"{value}..50%", f"50%..{value}", f"1{value}"):
        in_one_line(NET.budget, text)
        in_one_line(NET.span, text)


@given(TEXTS)
def test_any_budget_is_read_or_refused_in_one_line(value: str) -> None:
    in_one_line(NET.span, value)


@pytest.mark.parametrize("value", NASTY, ids=lambda value: ascii(value)[:9])
def test_a_nasty_shape_is_read_or_refused_in_one_line(value: str) -> None:
    for text in (value, f"3x{value}x8", f"{value}x8x8"):
        in_one_line(parse_shape, text)


@given(st.sampled_from(OPTIONS), TEXTS)
def test_any_text_of_an_option_is_taken_or_refused_in_one_line(option: str, value: str) -> None:
    in_one_line(sc.Ask, **{option: value})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results.of(tuned(tmp_path_factory.mktemp("run") / "run"))


@pytest.mark.parametrize("value", NASTY, ids=lambda value: ascii(value)[:9])
def test_a_nasty_table_of_published_points_is_read_or_refused_in_one_line(
    run: Results, tmp_path: Path, value: str
) -> None:
    table = tmp_path / "published.csv"
    for row in (f"a,{value},0.5", f"a,20M,{value}", f"{value},20M,0.5", f"a,{value}M,{value}%", value):
        table.write_text(f"name,macs,loss\n{row}\n")
        in_one_line(compared, [run], "loss", table)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"\x00" * 99, b'"' * 99, b"name,macs,loss\n" + b"a" * 200_000]
)
def test_a_damaged_table_of_published_points_is_one_line(run: Results, tmp_path: Path, content: bytes) -> None:
    table = tmp_path / "published.csv"
    table.write_bytes(content)
    in_one_line(compared, [run], "loss", table)
