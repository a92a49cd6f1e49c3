import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.models.precision import PRECISIONS, in_bfloat16


class Picky(nn.Module):
    """Runs in float32 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if hidden.dtype is not torch.float32:
            raise RuntimeError("no kernel for this")
        return torch.as_tensor(self.last(hidden))


def net(model: nn.Module | None = None) -> sc.Supernet:
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    return sc.Supernet.of(model or plain, torch.zeros(1, 4), check=False)


@pytest.mark.parametrize(("can", "expected"), [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({}, False)])
def test_auto_is_bfloat16_where_the_processor_computes_in_it(
    can: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **can}, raising=False)
    assert in_bfloat16("auto", net()) is expected
    assert in_bfloat16("bfloat16", net())
    assert not in_bfloat16("float32", net())


def test_auto_is_float32_for_a_network_that_does_not_run_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert not in_bfloat16("auto", net(Picky()))


def test_auto_is_float32_where_torch_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not in_bfloat16("auto", net())
    assert PRECISIONS[0] == "auto"
