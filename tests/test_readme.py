"""README's commands on the reader's own data, typed in order: a tiny network and a few images stand in for theirs."""

from pathlib import Path

import pytest
from commands import Capture, laid_out, status
from test_pages import PAGES, blocks, commands

THEIRS = {
    "torchvision:resnet18": "nets.py:make",
    "torchvision:resnet34": "nets.py:make",
    "imagefolder:DIR": "imagefolder:photos",
    "r18.pth": "make.safetensors",
    "r34.pth": "make.safetensors",
    "40": "1",
}
NETWORK = ["--model", "nets.py:make"]  # a function of the user's, which every later command needs again
SMALL = {
    "inspect": ["--classes", "2", "--input", "3x16x16"],
    "run": ["--trials", "1", "--epochs", "1", "--divisor", "1", "--least", "10%"],
    "transfer": NETWORK,
    "evaluate": NETWORK,
    "export": NETWORK,
}


def own_data() -> list[list[str]]:
    """The block that prunes the reader's own network."""
    (found,) = (block for block in blocks(PAGES[0], "sh") if "secateur doctor" in block)
    return list(commands(found))


def test_the_commands_for_own_data_run_in_the_order_that_they_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(laid_out(tmp_path))
    typed = own_data()
    assert [words[0] for words in typed][:3] == ["doctor", "inspect", "run"]
    for words in typed:
        line = [THEIRS.get(word, word) for word in words] + SMALL.get(words[0], [])
        assert status(line) == 0, (line, capsys.readouterr().err)
    for left in ("groups.svg", "runs/r18/report.html", "runs/r18/best/model.onnx", "slim34/architecture.json"):
        assert (tmp_path / left).exists(), sorted((tmp_path / left).parent.iterdir())
