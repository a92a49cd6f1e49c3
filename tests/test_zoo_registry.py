import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import WeightsEnum

from secateur.errors import SecateurError
from secateur.models.zoo.registry import NETS, callable_at, constructor


@pytest.fixture(autouse=True)
def _own_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    def write(code: str, name: str = "net.py") -> str:
        (tmp_path / name).write_text(code)
        return str(tmp_path / name)

    return write


# Names


@pytest.mark.parametrize("name", NETS)
def test_every_name_of_ours_builds_a_network_with_the_classes_asked_for(name: str) -> None:
    with torch.device("meta"):
        assert constructor(name, 7)()(torch.empty(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "inception_v3", "googlenet"])
def test_torchvision_networks_have_one_output_also_in_training(name: str) -> None:
    build = constructor(f"torchvision:{name}", 7)
    with torch.device("meta"):
        assert build()(torch.empty(2, 3, 299, 299)).shape == (2, 7)


def test_timm_networks_have_the_classes_asked_for() -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        assert constructor("timm:resnet18", 7)()(torch.empty(2, 3, 64, 64)).shape == (2, 7)


def trained_of(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return constructor(name, 1000)()


def test_the_weights_of_torchvision_are_in_the_network_that_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = trained_of("torchvision:squeezenet1_1", 1)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: theirs.state_dict())
    ours = trained_of("torchvision:squeezenet1_1@DEFAULT", 2)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no such\nhost")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    with pytest.raises(SecateurError, match=r"resnet18@DEFAULT can't be fetched \(URLError.*connect this") as caught:
        constructor("torchvision:resnet18@DEFAULT", 1000)()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "classes", "useful"),
    [
        ("torchvision:resnet18@DEFAULT", 10, "are for 1000 classes and not 10; train torchvision:resnet18 on your"),
        ("torchvision:resnet18@best", 1000, "no weights 'best'; pass IMAGENET1K_V1, DEFAULT"),
        ("timm:resnet18@pretrained", 10, "are for 1000 classes and not 10"),
        ("timm:resnet18@best", 1000, "no weights 'best'"),
    ],
)
def test_weights_of_a_library_that_do_not_suit_are_refused_before_they_are_fetched(
    spec: str, classes: int, useful: str
) -> None:
    if spec.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(SecateurError, match=useful):
        constructor(spec, classes)


def test_each_call_builds_another_network() -> None:
    build = constructor("resnet20", 10)
    assert build() is not build()


def test_constructors_can_be_sent_to_another_process() -> None:
    assert isinstance(pickle.loads(pickle.dumps(constructor("resnet20", 10)))(), nn.Module)


@pytest.mark.parametrize(
    ("spec", "useful"),
    [
        ("resnet57", "no network is called 'resnet57'; nearest: resnet56"),
        (
            "zzz",
            "pass resnet20, .*, torchvision:NAME, timm:NAME, path/to/file.py:function or package.module:f",
        ),
        ("", "no network is called ''"),
        ("torchvision:resnet51", "no classifier 'resnet51'; nearest: resnet50"),
        ("torchvision:", "no classifier ''"),
        ("torchvison:resnet50", "or was torchvision:resnet50 meant"),
        ("nowhere.py:net", "no file nowhere.py for nowhere.py:net"),
        ("net.py", "'net.py' names no function; write path/to/file.py:function"),
    ],
)
def test_a_wrong_name_says_what_is_near_and_what_can_be_given(spec: str, useful: str) -> None:
    with pytest.raises(SecateurError, match=useful) as caught:
        constructor(spec, 10)
    assert "\n" not in str(caught.value)


def test_a_wrong_timm_name_says_what_is_near() -> None:
    pytest.importorskip("timm")
    with pytest.raises(SecateurError, match=r"timm has no network 'resnet51'; nearest: .*resnet50"):
        constructor("timm:resnet51", 10)


def test_without_timm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SecateurError, match=r'pip install "secateur\[timm\]"'):
        constructor("timm:resnet18", 10)


# Functions of the user's

NET = "from torch import nn\n"


@pytest.mark.parametrize("parameters", ["classes=10", "num_classes=10", "num_classes=10, classes=10"])
def test_a_function_with_a_parameter_for_the_classes_gets_them(python: Callable[..., str], parameters: str) -> None:
    name = parameters.rpartition(" ")[2].partition("=")[0]
    path = python(f"{NET}def net(width=3, {parameters}): return nn.Linear(width, {name})")
    assert constructor(f"{path}:net", 7)().out_features == 7


def test_a_function_without_such_a_parameter_gets_nothing(python: Callable[..., str]) -> None:
    path = python(f"{NET}def net(width=3): return nn.Linear(width, 5)")
    assert constructor(f"{path}:net", 7)().out_features == 5


def test_a_class_is_as_good_as_a_function(python: Callable[..., str]) -> None:
    path = python(f"{NET}class Net(nn.Linear):\n    def __init__(self, classes): super().__init__(3, classes)")
    assert constructor(f"{path}:Net", 7)().out_features == 7


def test_a_file_sees_its_neighbours_and_may_define_dataclasses(python: Callable[..., str]) -> None:
    python("WIDTH = 4", "neighbour_of_the_net.py")
    path = python(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from neighbour_of_the_net import WIDTH\n@dataclass\nclass Config:\n    width: int = WIDTH\n"
    )
    assert callable_at(f"{path}:Config")().width == 4  # type: ignore[attr-defined]


def test_a_file_is_never_mistaken_for_an_installed_package_of_its_name(python: Callable[..., str]) -> None:
    callable_at(python("def net(): pass", "torch.py") + ":net")
    assert sys.modules["torch"] is torch


def test_a_module_is_found_in_the_working_directory(
    python: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python("def answer(): return 42", "module_of_the_users.py")
    monkeypatch.chdir(tmp_path)
    assert callable_at("module_of_the_users:answer")() == 42


def test_an_installed_module_is_found() -> None:
    assert callable_at("collections:OrderedDict") is OrderedDict


@pytest.mark.parametrize(
    ("code", "name", "useful"),
    [
        ("def resnet(): pass", "resnte", "has no function 'resnte'; nearest: resnet"),
        ("net = 3", "net", "has 'net', but it is no function"),
        ("def net(: pass", "net", "failed with SyntaxError"),
        ("\n1 / 0\n", "net", r"failed with ZeroDivisionError: division by zero \(.*net.py line 2\)"),
        ("raise ValueError('two\\nlines')", "net", "failed with ValueError: two lines"),
        ("import sys; sys.exit(1)", "net", "failed with SystemExit: 1"),
        ("import no_such_package", "net", "No module named 'no_such_package'"),
    ],
)
def test_a_file_that_does_not_give_the_function_says_why(
    python: Callable[..., str], code: str, name: str, useful: str
) -> None:
    with pytest.raises(SecateurError, match=useful) as caught:
        callable_at(f"{python(code)}:{name}")
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(SecateurError, match=r"importing no_such\.module for no_such\.module:net failed"):
        callable_at("no_such.module:net")


@pytest.mark.parametrize(
    ("code", "useful"),
    [
        ("def net(width): pass", "failed with TypeError: .*'width'"),
        ("def net():\n    return 1 / 0", r"failed with ZeroDivisionError.*net.py line 2"),
        ("def net(): return 3", "returned int; it should return a torch.nn.Module"),
    ],
)
def test_a_function_that_gives_no_network_says_why(python: Callable[..., str], code: str, useful: str) -> None:
    with pytest.raises(SecateurError, match=useful):
        constructor(f"{python(code)}:net", 10)()
