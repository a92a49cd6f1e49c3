import pytest
import torch

from secateur.models.precision import PRECISIONS, in_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(("can", "expected"), [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({}, False)])
def test_auto_is_bfloat16_where_the_processor_computes_in_it(
    can: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **can}, raising=False)
    assert in_bfloat16("auto", CPU) is expected
    assert in_bfloat16("bfloat16", CPU)
    assert not in_bfloat16("float32", CPU)


def test_auto_is_float32_where_torch_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not in_bfloat16("auto", CPU)
    assert not in_bfloat16("auto", torch.device("mps"))
    assert PRECISIONS[0] == "auto"
