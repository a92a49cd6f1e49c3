"""What the calls of a network are heard to read, against torch's own unfolding."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toys import Functional, Grouped, NoNorm, Shared, SqueezeExciteLinear, Toy, Transposed

from secateur.models.tracing.weight_reads import Reading, Readings, at_rows


def heard(model: nn.Module, x: Tensor) -> tuple[list[tuple[Reading, Tensor]], Readings]:
    calls: list[tuple[Reading, Tensor]] = []
    readings = Readings(model.eval(), after=lambda reading, output: calls.append((reading, output)))
    with torch.no_grad(), readings:
        model(x)
    return calls, readings


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 5)),
        (nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), bias=False), (2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3, groups=2, padding="same"), (2, 4, 7, 5)),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 7, 5)),
        (nn.Conv1d(4, 6, 3, stride=2), (2, 4, 9)),
        (nn.Conv3d(4, 6, (1, 2, 3), padding=1), (2, 4, 5, 4, 3)),
        (nn.Conv2d(4, 6, 1), (4, 7, 5)),
        (nn.Linear(4, 6), (3, 4)),
        (nn.Linear(4, 6, bias=False), (3, 5, 4)),
    ],
)
def test_matrix_times_rows_plus_bias_is_the_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    ((reading, output),), _ = heard(layer.double(), torch.randn(*shape, dtype=torch.float64))
    weight = layer.get_parameter(reading.name).detach()
    matrix = weight.permute(reading.order).flatten(1)
    matrix = matrix.reshape(reading.groups, -1, matrix.shape[1])
    positions = torch.randperm(reading.count)
    made = (reading.rows(positions) @ matrix.mT).movedim(0, 1).flatten(1)
    if reading.bias:
        made = made + layer.get_parameter(reading.bias)
    assert reading.bias == ("bias" if layer.bias is not None else None)
    assert matrix.shape[-1] == reading.columns
    assert torch.allclose(made, at_rows(output, positions))


def test_calls_are_heard_that_belong_to_no_module() -> None:
    torch.manual_seed(0)
    calls, _ = heard(Functional(), torch.randn(2, 3, 8, 8))
    assert [(c.name, c.order, c.bias) for c, _ in calls] == [
        ("stem.weight", (0, 2, 3, 1), "stem.bias"),
        ("weight", (0, 2, 3, 1), "bias"),
        ("matrix", (1, 0), None),
        ("head.weight", (0, 1), "head.bias"),
    ]


def test_a_shared_weight_is_heard_each_time() -> None:
    calls, _ = heard(Shared(), torch.randn(2, 3, 8, 8))
    assert [c.name for c, _ in calls] == ["stem.weight", *["again.weight"] * 3, "head.weight"]


def test_transposed_convolutions_are_not_heard() -> None:
    calls, _ = heard(Transposed(), torch.randn(2, 3, 8, 8))
    assert [c.name for c, _ in calls] == ["stem.weight", "head.weight"]


@pytest.mark.parametrize(
    ("toy", "normed"),
    [(Grouped, {"stem.weight", "grouped.weight"}), (NoNorm, set()), (SqueezeExciteLinear, {"stem.weight"})],
)
def test_weights_with_batch_norm_behind_them_are_told_apart(toy: type[Toy], normed: set[str]) -> None:
    _, readings = heard(toy(), torch.randn(2, 3, 8, 8))
    assert readings.normed == normed


def test_nothing_is_kept_alive() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    readings = Readings(model)
    with torch.no_grad(), readings:
        model(torch.randn(3, 4))
    assert len(readings.makers) == 0
    assert len(readings.turned) == 0


def test_rows_of_half_precision_come_in_single() -> None:
    ((reading, output),), _ = heard(nn.Conv2d(4, 6, 3).bfloat16(), torch.randn(1, 4, 5, 5).bfloat16())
    assert reading.rows(torch.tensor([0])).dtype == at_rows(output, torch.tensor([0])).dtype == torch.float32
    assert F.unfold(torch.zeros(1, 4, 5, 5), 3).shape[2] == reading.count
