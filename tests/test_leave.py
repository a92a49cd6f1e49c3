"""A search in Python leaves a run, on which everything works that works on a command's."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from commands import Capture, status, told
from torch import nn
from torch.utils.data import TensorDataset

import secateur as sc
from secateur.models.timing import clock
from secateur.rundir.manifest import config_of
from secateur.rundir.results import Results
from secateur.stages.points import tune

CODE = '''"""A network and data, as a user has them."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


class Net(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.body(x))


def part(seed, count):
    labels = torch.arange(count) % 2
    noise = torch.randint(120, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return TensorDataset((noise + 100 * labels[:, None, None, None]).to(torch.uint8), labels)


def data():
    return part(0, 64), part(1, 24), part(2, 16)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's code and the run of a search in Python."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "mine.py").write_text(CODE)
    scope: dict[str, Any] = {"__name__": "mine"}
    exec(CODE, scope)
    torch.manual_seed(0)
    data = sc.Data.of(*scope["data"](), name="shades")
    net = sc.Supernet.of(scope["Net"](2).eval(), data.example, divisor=2, least=0.2)
    sc.find(net, data, "60%", trials=2, views=1, out=folder / "run")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setattr(clock, "ROUNDS", 3)
    return place


def answer(argv: list[str], capsys: Capture) -> dict[str, Any]:
    assert status([*argv, "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


MODEL, DATA = ["--model", "mine.py:Net"], ["--data", "mine.py:data"]


def test_it_says_what_was_asked(here: Path) -> None:
    config = config_of(Path("run"))
    assert (config.model, config.images.data, config.images.input) == ("python:Net", "python:shades", "3x8x8")
    assert (config.budget.flops, config.search.trials, config.transfer.views) == ("60%", 2, 1)
    assert (config.constraints.divisor, config.constraints.min_keep) == (2, {"*": 0.2})
    run = Results.of("run")
    assert run.title == "Net on shades at 60%"
    assert run.command == "sc.find(net, data, '60%', trials=2, seed=0, out='run')"


def test_pictures_and_reports_are_drawn_of_it(here: Path, capsys: Capture) -> None:
    assert sc.pareto("run").axes
    assert sc.report("run").read_text().startswith("<!")
    assert Path(answer(["report", "run"], capsys)["pareto.png"]).exists()


def test_commands_ask_for_the_code(here: Path, capsys: Capture) -> None:
    assert "pass --model path/to/file.py:function" in told(["export", "run"], capsys)
    assert "pass --model path/to/file.py:function" in told(["evaluate", "run"], capsys)
    said = told(["transfer", "run"], capsys)
    assert "run was searched in Python" in said
    assert said.endswith("--model path/to/file.py:function --data path/to/file.py:function")
    with pytest.raises(sc.SecateurError, match="pass --model"):
        sc.load("run")


def test_its_points_are_fine_tuned_without_another_evaluation(here: Path, capsys: Capture) -> None:
    before = Path("run/bank/records.jsonl").read_bytes()
    said = answer(["transfer", "run", *MODEL, *DATA, "--epochs", "1", "--device", "cpu"], capsys)
    assert Path("run/bank/records.jsonl").read_bytes() == before
    assert said["tuned"]["macs"] == json.loads(Path("run/front.json").read_text())["winner"]["costs"]["kept"]["macs"]
    assert answer(["evaluate", said["out"], *MODEL, "--threads", "1"], capsys)["networks"]["slim"]["test"]["n"] == 16
    again = ["transfer", said["out"], *MODEL, *DATA, "--epochs", "1", "--method", "ce", "--device", "cpu"]
    assert answer(again, capsys)["tuned"]["macs"] == said["tuned"]["macs"]


def test_its_pruned_winner_is_measured_and_exported(here: Path, capsys: Capture) -> None:
    assert "has not been tested yet" in told(["evaluate", "run", *MODEL], capsys)
    said = answer(["evaluate", "run", *MODEL, *DATA, "--threads", "1"], capsys)
    assert [row["test"]["n"] for row in said["networks"].values()] == [16, 16]
    assert answer(["export", "run", "--format", "pt2", *MODEL], capsys)["difference"] < 1e-4


def toy() -> tuple[sc.Supernet, sc.Data]:
    pixels = torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    part = TensorDataset(pixels, torch.arange(24) % 2)
    data, layers = sc.Data.of(part, part), [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    return sc.Supernet.of(model.eval(), data.example, freeze=["2"]), data


def test_a_temporary_folder_is_drawn_too_and_holds_no_weights() -> None:
    found = sc.find(*toy(), "60%", trials=1, views=0)
    assert found.pareto().axes
    assert not (found.folder / "dense").exists()
    assert not (found.folder / "best").exists()


def test_a_search_with_objects_of_ones_own_is_repeated_in_python_alone(tmp_path: Path) -> None:
    net, data = toy()
    objects: list[dict[str, Any]] = [
        {"sampler": lambda seed: optuna.samplers.RandomSampler(seed=seed)},
        {"evaluation": lambda model, split, images: float(next(split.batches(8)).images.mean()), "start": [net.dense]},
        {"scores": {"one": lambda net, split: [torch.ones(g.width).numpy() for g in net.groups]}},
    ]
    for number, own in enumerate(objects):
        out = tmp_path / f"{number}"
        sc.find(net, data, net.budget("60%"), trials=1, views=0, out=out, **own)
        assert config_of(out).search.sampler.startswith("python:")
        assert config_of(out).budget.flops == str(net.budget("60%").macs)
        with pytest.raises(sc.SecateurError, match=r"with objects that no file holds; fine-tune its points there"):
            tune(out, model="x.py:net", data="x.py:data")


def test_a_search_goes_on_with_other_options_but_not_in_a_folder_of_the_command_line(tmp_path: Path) -> None:
    net, data = toy()
    for trials in (1, 2):
        sc.find(net, data, "60%", trials=trials, views=0, out=tmp_path / "mine")
        assert config_of(tmp_path / "mine").search.trials == trials
    path = tmp_path / "mine" / "run.json"
    book = json.loads(path.read_text())
    path.write_text(json.dumps({**book, "asked": {**book["asked"], "model": "resnet20"}}))
    with pytest.raises(sc.SecateurError, match="holds a run of the command line; pass a different folder"):
        sc.find(net, data, "60%", trials=1, views=0, out=tmp_path / "mine")


def test_frozen_groups_are_wishes_of_the_run(tmp_path: Path) -> None:
    net, data = toy()
    sc.find(net, data, "90%", trials=0, views=0, out=tmp_path)
    assert config_of(tmp_path).constraints.freeze == ("2",)


def test_of_steps_by_group_the_run_notes_the_divisor_that_they_share(tmp_path: Path) -> None:
    net, data = toy()
    net = sc.Supernet.of(net.model, data.example, divisor={"0": 4, "2": 2})
    sc.find(net, data, "90%", trials=0, views=0, out=tmp_path)
    assert config_of(tmp_path).constraints.divisor == 2
