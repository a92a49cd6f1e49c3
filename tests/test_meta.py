from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.models.tracing.meta import MetaShapes, meta_call


class Refused(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Stands below ``Shapes``: what reaches it was left to torch."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "empty" in str(func):
            return func(*args, **(kwargs or {}))
        raise NotImplementedError(str(func))


def both(make: Callable[..., Tensor], *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[object]:
    """What torch says of the result, and what ``Shapes`` says."""
    found: list[object] = []
    for mode in (None, MetaShapes()):  # type: ignore[no-untyped-call]
        tensors = [torch.empty(shape, dtype=dtype, device="meta") for shape in shapes]
        if mode is None:
            out = make(*tensors)
        else:
            with Refused(), mode:  # type: ignore[no-untyped-call]
                out = make(*tensors)
        found.append((out.shape, out.dtype, out.stride(), out is tensors[0]))
    return found


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.ReLU, nn.SiLU, nn.ReLU6])
def test_activations_have_the_shape_that_torch_gives(kind: type[nn.ReLU], inplace: bool) -> None:
    x = torch.empty(2, 3, 4, 5, device="meta").to(memory_format=torch.channels_last)
    with MetaShapes():  # type: ignore[no-untyped-call]
        out = kind(inplace=inplace)(x)
    assert (out.shape, out.dtype, out.stride(), out is x) == (x.shape, x.dtype, x.stride(), inplace)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_has_the_shape_that_torch_gives(training: bool) -> None:
    x = torch.empty(2, 3, 4, 5, device="meta")
    with torch.no_grad(), MetaShapes():  # type: ignore[no-untyped-call]
        assert nn.BatchNorm2d(3, device="meta").train(training)(x).shape == x.shape


small = st.integers(1, 3)


@given(n=small, read=small, made=small, groups=small, size=st.integers(5, 12), kernel=small, stride=small,
       padding=st.integers(0, 2), dilation=st.integers(1, 2), dims=small)  # fmt: skip
def test_a_convolution_is_answered_as_torch_does(
    n: int,
    read: int,
    made: int,
    groups: int,
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    dims: int,
) -> None:
    call = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    x = (n, read * groups, *range(size, size + dims))
    weight = (made * groups, read, *[kernel] * dims)
    said, answered = both(lambda x, w: call(x, w, None, stride, padding, dilation, groups), x, weight)
    assert answered == said


@given(size=st.integers(3, 12), kernel=st.tuples(small, small), stride=small, padding=st.integers(0, 1),
       dilation=small, ceil=st.booleans(), mean=st.booleans())  # fmt: skip
def test_pooling_is_answered_as_torch_does(
    size: int, kernel: tuple[int, int], stride: int, padding: int, dilation: int, ceil: bool, mean: bool
) -> None:
    def pooled(x: Tensor) -> Tensor:
        if mean:
            return F.avg_pool2d(x, kernel, stride, padding, ceil)
        return F.max_pool2d(x, kernel, stride, padding, dilation, ceil)

    x = torch.empty(2, 3, size, size + 1, device="meta")
    try:
        said = pooled(x)
    except RuntimeError:
        with pytest.raises(RuntimeError), MetaShapes():  # type: ignore[no-untyped-call]
            pooled(x)
        return
    with MetaShapes():  # type: ignore[no-untyped-call]
        answered = pooled(x)
    assert (answered.shape, answered.dtype, answered.stride()) == (said.shape, said.dtype, said.stride())


def test_the_places_of_maxima_have_the_shape_that_torch_gives() -> None:
    x = torch.empty(2, 3, 9, 9, device="meta")
    with Refused(), MetaShapes():  # type: ignore[no-untyped-call]
        made, places = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert made.shape == places.shape == (2, 3, 5, 5)
    assert places.dtype == torch.int64


@pytest.mark.parametrize("make", [torch.add, torch.sub, torch.mul, torch.div, Tensor.add_, Tensor.mul_])
@pytest.mark.parametrize("other", [(2, 3, 4), (3, 1), (1,), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arithmetic_is_answered_as_torch_does(
    make: Callable[..., Tensor], other: tuple[int, ...], dtype: torch.dtype
) -> None:
    said, answered = both(make, (2, 3, 4), other, dtype=dtype)
    assert answered == said


def test_arithmetic_with_a_number_is_answered_as_torch_does() -> None:
    said, answered = both(lambda x: (x * 2 + 1) / 3, (2, 3))
    assert answered == said


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_concatenation_is_answered_as_torch_does(dim: int) -> None:
    said, answered = both(lambda a, b, c: torch.cat([a, b, c], dim), (2, 3), (2, 3), (2, 3))
    assert answered == said


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dims", [[2, 3], [-1], [0, -3]])
def test_a_mean_is_answered_as_torch_does(dims: list[int], keep: bool) -> None:
    said, answered = both(lambda x: x.mean(dims, keepdim=keep), (2, 3, 4, 5))
    assert answered == said


def test_a_mean_over_everything_is_left_to_torch() -> None:
    with MetaShapes():  # type: ignore[no-untyped-call]
        assert torch.empty(2, 3, device="meta").mean().shape == ()


def test_what_does_not_fit_is_left_to_torch() -> None:
    def x(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    wrong: list[Callable[[], Tensor]] = [
        lambda: x(2, 3) + x(2, 4),
        lambda: x(1, 3).add_(x(2, 3)),
        lambda: torch.cat([x(2, 3), x(3, 3)], 1),
        lambda: F.conv2d(x(1, 3, 8, 8), x(4, 2, 3, 3)),
        lambda: F.conv2d(x(1, 3, 2, 2), x(4, 3, 3, 3)),
    ]
    for make in wrong:
        with pytest.raises((RuntimeError, ValueError)) as said:
            make()
        with pytest.raises(said.type), MetaShapes():  # type: ignore[no-untyped-call]
            make()


def test_mixed_types_are_left_to_torch() -> None:
    whole = torch.empty(3, dtype=torch.int64, device="meta")
    with MetaShapes():  # type: ignore[no-untyped-call]
        assert (whole + torch.empty(3, device="meta")).dtype == torch.float32
        assert (whole / 2).dtype == torch.float32


def test_tensors_with_storage_are_computed() -> None:
    x = torch.randn(2, 3)
    with MetaShapes():  # type: ignore[no-untyped-call]
        out = F.hardswish(x) + x
    assert torch.equal(out, F.hardswish(x) + x)
    assert torch.equal(meta_call(torch.ops.aten.cat.default, ([x, x],), {}), torch.cat([x, x]))
