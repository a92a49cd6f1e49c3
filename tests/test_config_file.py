"""A file of options: what is printed is read, the command line comes first, and mistakes are one line."""

from pathlib import Path
from typing import Any

import pytest
from commands import Capture, status
from hypothesis import given
from hypothesis import strategies as st

import secateur as sc
from secateur.rundir.command_options import PlaceOptions
from secateur.rundir.config_file import option_lines, options_from_file

OPTIONS: list[dict[str, Any]] = [
    {},
    {"flops": "25%..80%", "params": "0.1M", "trials": 7, "sampler": "gp", "least": ("20%", "layer1.*=50%")},
    {
        "method": "kd",
        "teacher": "resnet110",
        "teacher_weights": "a b.pth",
        "batch": 16,
        "lr": 1e-05,
        "optimizer": "adamw",
    },
    {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "input": "3x64x64", "augment": "trivial", "freeze": ("conv1",)},
    {"method": "blockwise", "strength": 0.5, "block_strength": ("layer1.*=2",), "weights": "net.pth:ema", "seed": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_printed_is_read_as_the_same(options: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    config = sc.Ask("resnet56", **options)
    lines = option_lines(config, PlaceOptions(out=Path("runs/mine")))
    (tmp_path / "run.yaml").write_text("\n".join(lines))
    assert status(["run", "--config", str(tmp_path / "run.yaml"), "--print-config"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_the_command_line_comes_before_the_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "run.yaml").write_text('model: "resnet56"\ntrials: 7\nweight-decay: 0.1\n')
    words = ["search", "resnet20", "--trials", "3", f"--config={tmp_path / 'run.yaml'}", "--print-config"]
    assert status(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert {'model: "resnet20"', "trials: 3", "weight-decay: 0.1"} <= {*printed}


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", 'freeze = ["q"]\nlr = 0.5\n'), ("a.json", '{"freeze": ["q"], "lr": 0.5}')]
)
def test_toml_and_json_are_read_too(name: str, text: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / name).write_text(text)
    assert status(["run", "--config", str(tmp_path / name), "--print-config"]) == 0
    assert {'freeze: ["q"]', "lr: 0.5"} <= {*capsys.readouterr().out.splitlines()}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "trails: 3", "Did you mean --trials?"),
        ("a.yaml", "trials: x", 'unable to convert "x" into int'),
        ("a.yaml", "- {", "while parsing"),
        ("a.json", "{", "Expecting property name"),
        ("a.yaml", "method: magic\nepochs: 0", "epochs=0; pass 1 or more"),
        ("a.txt", "trials: 3", "has an unknown format; pass a file that ends in .yaml"),
        ("none.yaml", None, "--print-config > "),
    ],
)
def test_a_mistake_in_a_file_is_one_line(
    name: str, text: str | None, message: str, tmp_path: Path, capsys: Capture
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert status(["run", "--config", str(tmp_path / name), "--print-config"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said


def test_without_a_file_the_command_line_stands_alone(capsys: Capture) -> None:
    assert options_from_file(["run", "resnet20"]) == ()
    assert status(["run", "--print-config"]) == 0
    assert "trials: 100" in capsys.readouterr().out


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20))
def test_any_name_of_a_group_survives(name: str) -> None:
    import yaml

    lines = option_lines(sc.Ask(freeze=(name,)), PlaceOptions())
    assert yaml.safe_load("\n".join(lines))["freeze"] == [name]


@pytest.mark.parametrize(
    "content", [b"trials\n", b"\x00", b"\xff\xfe", b"[" * 5_000, b"- 3\n", b"3\n", b"flops:\n  50%: 3\n", b"null: 3\n"]
)
def test_a_damaged_file_is_one_line(content: bytes, tmp_path: Path, capsys: Capture) -> None:
    for name in ("a.yaml", "a.toml", "a.json"):
        (tmp_path / name).write_bytes(content)
        assert status(["run", "--config", str(tmp_path / name), "--print-config"]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("secateur: ")
