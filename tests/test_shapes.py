import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secateur.models.shapes import Shapes


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.ReLU, nn.SiLU, nn.ReLU6])
def test_activations_have_the_shape_that_torch_gives(kind: type[nn.ReLU], inplace: bool) -> None:
    x = torch.empty(2, 3, 4, 5, device="meta").to(memory_format=torch.channels_last)
    with Shapes():  # type: ignore[no-untyped-call]
        out = kind(inplace=inplace)(x)
    assert (out.shape, out.dtype, out.stride(), out is x) == (x.shape, x.dtype, x.stride(), inplace)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_has_the_shape_that_torch_gives(training: bool) -> None:
    x = torch.empty(2, 3, 4, 5, device="meta")
    with torch.no_grad(), Shapes():  # type: ignore[no-untyped-call]
        assert nn.BatchNorm2d(3, device="meta").train(training)(x).shape == x.shape


def test_tensors_with_storage_are_computed() -> None:
    x = torch.randn(2, 3)
    with Shapes():  # type: ignore[no-untyped-call]
        out = F.hardswish(x)
    assert torch.equal(out, F.hardswish(x))
