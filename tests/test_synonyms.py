"""Options as other tools call them."""

from pathlib import Path

import pytest
from commands import Capture, line, told
from hypothesis import given
from hypothesis import strategies as st

from secateur.rundir.synonyms import SENTENCES, SYNONYMS, WORDS, advice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--val", "val"], "Unknown option: --val; did you mean --holdout?"),
        (["--budget", "50%"], "did you mean --flops?"),
        (["--pruning_ratio=0.5"], "did you mean --flops?"),
        (["--checkpoint", "w.pth"], "did you mean --weights?"),
        (["--imgsz", "224"], "did you mean --input?"),
        (["--exist-ok"], "did you mean --overwrite?"),
        (["--num-trials", "3"], "did you mean --trials?"),
        (["--Flops", "50%"], "did you mean --flops?"),
        (["--resume"], "the same command resumes a run that was interrupted"),
        (["--classes", "4"], "the data say how many classes there are"),
        (["--arch", "resnet20"], "the network comes first and has no option: secateur run MODEL"),
        (["--trails", "3"], "Did you mean --trials?"),
        (["resnet56"], "'resnet56' is left over; pass one MODEL, and all else as options"),
    ],
)
def test_an_option_of_another_tool_is_answered_with_ours(
    words: list[str], said: str, here: Path, capsys: Capture
) -> None:
    assert said in told([*line(), *words], capsys)


def test_what_another_command_has_is_not_suggested() -> None:
    assert advice("--val", {"--flops"}) is None
    assert advice("--classes", {"--classes"}) == "did you mean --classes?"


@given(st.sampled_from(sorted(SYNONYMS)))
def test_every_synonym_leads_to_its_option_and_is_none_itself(word: str) -> None:
    assert advice(f"--{word}", {f"--{SYNONYMS[word]}"}) == f"did you mean --{SYNONYMS[word]}?"
    assert word not in WORDS
    assert word not in SENTENCES
