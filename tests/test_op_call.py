from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.models.tracing.op_call import Call, aten


def test_a_call_knows_its_tensors_and_what_torch_calls_it() -> None:
    seen: list[Call] = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            output = func(*args, **(kwargs or {}))
            seen.append(Call.of(func, args, kwargs, output))
            return output

    a, b = torch.zeros(2, 3), torch.ones(2, 4)
    with Watch():  # type: ignore[no-untyped-call]
        torch.cat([a, b], 1)
    assert seen[0].func.overloadpacket is aten.cat
    assert [id(x) for x in seen[0].tensors] == [id(a), id(b)]
    assert seen[0].name == "aten.cat"
