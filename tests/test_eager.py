import warnings
from typing import Any

import pytest
import torch
from torch import nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.tracing.eager import eager, uncompiled

IMAGE = torch.zeros(1, 3, 8, 8)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval()


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(network(), IMAGE)  # type: ignore[no-untyped-call]


def test_what_was_compiled_is_taken_as_it_was_written() -> None:
    model = network()
    compiled: Any = torch.compile(model)
    assert eager(compiled) is model
    assert Supernet.of(compiled, IMAGE).model is model
    assert eager(model) is model


def test_a_module_compiled_in_place_runs_as_it_was_written() -> None:
    model = network()
    model.compile(backend=lambda graph, inputs: pytest.fail("was compiled"))
    assert [group.name for group in Supernet.of(model, IMAGE).groups] == ["0"]
    with uncompiled():
        model(IMAGE)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (scripted, "the network is scripted, .*pass the eager module"),
        (lambda: nn.Sequential(network(), scripted()), "module 1 is scripted, .*pass the eager module"),
        (lambda: torch.export.export(network(), (IMAGE,)), "is of type ExportedProgram; pass the eager module"),
        (lambda: torch.export.export(network(), (IMAGE,)).module(), "an exported network .*pass the eager module"),
        (lambda: nn.ReLU, r"is the class ReLU, not what ReLU\(\.\.\.\) makes; pass an nn\.Module"),
        (lambda: torch.relu, "is the function relu; pass an nn.Module"),
    ],
    ids=["scripted", "part scripted", "program", "exported", "class", "function"],
)
def test_what_cannot_be_followed_says_what_to_pass(model: object, said: str) -> None:
    with pytest.raises(SecateurError, match=said) as error:
        Supernet.of(model(), IMAGE)  # type: ignore[operator]
    assert "\n" not in str(error.value)
