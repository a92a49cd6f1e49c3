from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from equality import assert_slims
from test_reference import supernet
from test_rules import Net, found, reason
from torch import Tensor, nn

from secateur.models.supernet import Supernet

THROUGH: dict[str, Callable[[Tensor], Tensor]] = {
    "sorted": lambda x: x.sort(-1)[0],
    "sorted stably": lambda x: torch.sort(x, dim=2, stable=True)[0],
    "largest": lambda x: x.flatten(2).topk(16, 2)[0].reshape(len(x), -1, 4, 4),
    "median": lambda x: x - x.median(-1, keepdim=True)[0],
    "median, fewer dimensions": lambda x: x.median(-1)[0].unsqueeze(-1),
    "third": lambda x: x.kthvalue(3, 2)[0].unsqueeze(-1),
    "cumulated": lambda x: x.cumsum(2).cummax(3)[0],
    "gathered": lambda x: x.gather(2, x.argsort(2)),
    "picked": lambda x: x[:, :, torch.tensor([0, 3, 5])],
    "picked pairs": lambda x: x[:, :, torch.tensor([0, 3]), torch.tensor([1, 2])].unsqueeze(-1),
    "selected": lambda x: x.index_select(3, torch.tensor([1, 4])),
    "in frequency": lambda x: x + torch.fft.irfft2(torch.fft.rfft2(x) * 0.5, s=x.shape[2:]),
    "magnitudes": lambda x: torch.fft.fft(x, dim=-1).abs(),
    "as pairs": lambda x: torch.view_as_complex(torch.stack([x, -x], -1).contiguous()).real.clone(),
    "exactly nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
    "bicubic": lambda x: F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True),
    "reflected": lambda x: F.pad(x.unsqueeze(-1).expand(-1, -1, -1, -1, 3), (1, 1) * 3, mode="reflect").mean(-1),
    "replicated": lambda x: F.pad(x.unsqueeze(-1), (1, 1) * 3, mode="replicate").mean(-1),
    "unpooled": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2]),
    "warped": lambda x: F.grid_sample(x, torch.zeros(len(x), 3, 3, 2).to(x), align_corners=False),
    "among neighbours": nn.LocalResponseNorm(5),
    "among an even number": nn.LocalResponseNorm(4),
}


@pytest.mark.parametrize("middle", THROUGH.values(), ids=THROUGH)
def test_channels_go_through_what_works_in_space(middle: Callable[[Tensor], Tensor]) -> None:
    net = supernet(middle)
    assert [group.width for group in net.groups] == [6, 8]
    assert_slims(net)


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (lambda x: x.sort(1)[0], "aten.sort, which is not understood"),
        (lambda x: x.flatten(2).topk(2, 1)[0].repeat(1, 4, 1).unsqueeze(-1), "aten.topk, which is not understood"),
        (lambda x: x.median(1, keepdim=True)[0] + x, "aten.median, which is not understood"),
        (lambda x: x.median() + x, "aten.median, which is not understood"),
        (lambda x: torch.fft.fft(x, dim=1).abs(), "is mixed by aten._fft_r2c"),
        (lambda x: x.gather(1, torch.zeros_like(x, dtype=torch.long)), "aten.gather, which is not understood"),
        (lambda x: x.index_select(1, torch.arange(8)), "aten.index_select, which is not understood"),
        (lambda x: F.avg_pool3d(x.unsqueeze(1), (2, 1, 1), 1).repeat(1, 1, 2, 1, 1)[0, :, :8], "aten.avg_pool3d works"),
    ],
)
def test_channels_stay_where_the_same_works_among_them(between: Callable[[Tensor], Tensor], why: str) -> None:
    result = found(Net(between))
    assert [group for group in result.groups if group.name == "stem"] == []
    assert why in str(reason(result, "stem"))


class Warped(nn.Module):
    """Features sampled where a convolution of them says."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.grid_sample(x, self.flow(x).permute(0, 2, 3, 1).tanh(), align_corners=False)


def test_a_flow_stays_and_the_features_that_it_warps_go() -> None:
    net = supernet(Warped())
    assert [group.name for group in net.groups] == ["first", "second"]
    assert reason(net.grouping, "middle.flow") == "lies in space where aten.grid_sampler_2d works"
    assert_slims(net)


class Volumes(nn.Module):
    """Convolutions over volumes with every way of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv3d(1, 6, 3, padding=1),
                nn.Conv3d(6, 8, 3, padding=1, padding_mode="replicate"),
                nn.Conv3d(8, 5, 3, padding=1, padding_mode="reflect"),
                nn.Conv3d(5, 4, 3, padding=1, padding_mode="circular"),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return x


def test_every_padding_of_volumes_is_followed() -> None:
    torch.manual_seed(0)
    net = Supernet.of(Volumes(), torch.zeros(1, 1, 5, 5, 5))
    assert [group.width for group in net.groups] == [6, 8, 5]
    assert_slims(net)


class Gate(nn.Module):
    """Attention over space by what all channels have in common: their ``summary``."""

    def __init__(self, summary: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.summary, self.mix = summary, nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.mix(self.summary(x))
        return x * gate.sigmoid()


@pytest.mark.parametrize(
    "summary",
    [
        lambda x: x.amax(1, keepdim=True),
        lambda x: x.max(1, keepdim=True)[0],
        lambda x: x.min(1)[0].unsqueeze(1),
        lambda x: x.sum(1, keepdim=True) / x.shape[1],
        lambda x: x.mean(1, keepdim=True) + x.std(1, keepdim=True),
        lambda x: x.logsumexp(1, keepdim=True),
        lambda x: x.norm(dim=1, keepdim=True),
    ],
)
def test_a_gate_over_space_sees_the_channels_that_stay(summary: Callable[[Tensor], Tensor]) -> None:
    net = supernet(Gate(summary))
    assert [(group.width, group.normed) for group in net.groups] == [(6, False), (8, True)]
    assert_slims(net)
