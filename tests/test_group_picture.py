"""The picture of the channel groups over the depth of a network."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

from secateur.errors import SecateurError
from secateur.models.costs.profile import Profile
from secateur.models.supernet import Supernet
from secateur.reports.group_picture import COLOURS, over_depth, require_place

PRUNABLE, NORM, FROZEN = COLOURS.values()


def profile_of(*layers: nn.Module) -> Profile:
    return Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8), check=False).profile()


@pytest.fixture(scope="module")
def small() -> Profile:
    """A group that can be pruned, one under a norm, and the outputs."""
    return profile_of(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 16, 1), nn.GroupNorm(1, 16), nn.Conv2d(16, 5, 1))


def drawn(profile: Profile) -> tuple[Figure, Axes, Axes]:
    figure = over_depth(profile, "net")
    figure.draw_without_rendering()
    bands, bars = figure.axes
    return figure, bands, bars


def words(texts: list[Text]) -> list[str]:
    return [text.get_text() for text in texts]


def test_every_group_is_a_band_from_the_layer_that_makes_it_to_the_last_that_reads_it(small: Profile) -> None:
    _, bands, _ = drawn(small)
    found = {}
    for lines in bands.collections:
        if isinstance(lines, LineCollection):
            kept: Any = lines
            (segment,), (colour,) = kept.get_segments(), kept.get_colors()
            found[to_hex(colour).upper()] = np.asarray(segment).tolist()
    assert found == {PRUNABLE: [[0, 0], [1, 0]], NORM: [[1, 1], [2, 1]], FROZEN: [[2, 2], [2, 2]]}


def test_a_wider_group_has_a_thicker_band(small: Profile) -> None:
    _, bands, _ = drawn(small)
    found: list[Any] = [x for x in bands.collections if isinstance(x, LineCollection)]
    thick = {to_hex(x.get_colors()[0]).upper(): x.get_linewidths()[0] for x in found}
    assert thick[NORM] == pytest.approx(2 * thick[PRUNABLE])  # 16 and 4 channels: by the root of the width


def test_dots_are_filled_where_a_layer_makes_a_group_and_open_where_one_reads_it(small: Profile) -> None:
    _, bands, _ = drawn(small)
    filled: list[list[float]] = []
    opened: list[list[float]] = []
    found: list[Any] = [x for x in bands.collections if isinstance(x, PathCollection)]
    for dots in found:
        face = to_hex(dots.get_facecolor()[0])
        (opened if face == "#ffffff" else filled).extend(np.asarray(dots.get_offsets()).tolist())
    assert sorted(filled) == [[0, 0], [1, 1], [2, 2]]
    assert sorted(opened) == [[1, 0], [2, 1]]


def test_bars_are_the_shares_of_the_macs_in_the_colour_of_the_most_prunable_group(small: Profile) -> None:
    _, _, bars = drawn(small)
    drawn_bars: list[Any] = list(bars.patches)
    heights = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in drawn_bars}
    total = 3 * 4 + 4 * 16 + 16 * 5
    assert [heights[x] for x in range(3)] == pytest.approx([100 * n / total for n in (12, 64, 80)])
    colours = {bar.get_x() + bar.get_width() / 2: to_hex(bar.get_facecolor()).upper() for bar in drawn_bars}
    assert [colours[x] for x in range(3)] == [PRUNABLE, PRUNABLE, NORM]


def test_groups_and_layers_are_named_and_the_title_counts_them(small: Profile) -> None:
    _, bands, bars = drawn(small)
    assert words(bands.get_yticklabels()) == ["0  4", "1  16", "3  5"]
    assert words(bars.get_xticklabels()) == ["0", "1", "3"]
    assert bands.get_title("left") == "net: 2 of 3 channel groups can be pruned"


def test_the_legend_explains_what_is_there_and_nothing_else(small: Profile) -> None:
    legend = drawn(small)[1].get_legend()
    assert legend is not None
    dots = ["a layer makes it", "a layer reads it"]
    assert words(legend.get_texts()) == [*COLOURS, *dots]
    plain = drawn(profile_of(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)))[1].get_legend()
    assert plain is not None
    assert words(plain.get_texts()) == ["can be pruned", "frozen", *dots]


@pytest.mark.parametrize("layers", [2, 40, 300])
def test_no_two_names_overlap_and_all_are_in_the_picture(layers: int) -> None:
    convs = [nn.Conv2d(3 if i == 0 else 4, 4, 1) for i in range(layers)]
    figure, bands, bars = drawn(profile_of(*convs))
    page = figure.bbox
    for labels in (bands.get_yticklabels(), bars.get_xticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
        assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)
    said = [bands.yaxis.label.get_window_extent(), bars.yaxis.label.get_window_extent()]
    assert not said[0].overlaps(said[1])
    assert all(page.y0 <= box.y0 and box.y1 <= page.y1 for box in said)


@pytest.mark.parametrize("name", ["groups.svg", "groups.PNG"])
def test_a_place_for_an_svg_or_a_png_is_good(name: str, tmp_path: Path, small: Profile) -> None:
    require_place(tmp_path / name)
    over_depth(small, "net").savefig(tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize("name", ["groups.pdf", "groups", ".svg"])
def test_another_ending_is_refused_with_the_two_that_are_good(name: str, tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"neither \.svg nor \.png"):
        require_place(tmp_path / name)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="is in no folder that exists"):
        require_place(tmp_path / "nowhere" / "groups.svg")
