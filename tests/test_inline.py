"""What notebooks show of a search and of a network."""

import re

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.reports.inline import front_and_widths


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> sc.Found:
    data = sc.open_data("digits", (3, 8, 8))
    net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    scores = {"l1": sc.SCORES["l1"]}
    return sc.find(net, data, "30%..60%", trials=1, views=0, scores=scores, out=tmp_path_factory.mktemp("run") / "out")


def test_a_search_shows_a_row_a_point_the_winner_first_and_two_pictures(found: sc.Found) -> None:
    html = found._repr_html_()
    rows = re.findall(r"<tr><td>(.*?)</tr>", html)
    assert "winner" in rows[0]
    assert f"{found.winner.macs / found.net.macs(found.net.dense):.1%}" in rows[0]
    assert not any("winner" in row for row in rows[1:])
    macs = [float(re.findall(r"\(([\d.]+)%\)", row)[0]) for row in rows[1:]]
    assert macs == sorted(macs)
    assert html.count("<img src=") == 2
    assert html == front_and_widths(found.folder)


def test_a_profile_shows_every_group_and_what_is_frozen_is_said() -> None:
    net = sc.Supernet.of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3), nn.Flatten()), torch.zeros(1, 3, 8, 8))
    html = net.profile("50%")._repr_html_()
    assert html.count("<tr><td>") == len(net.profile("50%").lines) == 2
    assert "is an output of the network" in html
    assert "can be met" in html


def test_names_can_hold_no_markup() -> None:
    model = nn.Sequential()
    model.add_module("<b>", nn.Conv2d(3, 4, 1))
    model.add_module("out", nn.Conv2d(4, 2, 1))
    html = sc.Supernet.of(model, torch.zeros(1, 3, 4, 4)).profile("50%")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
