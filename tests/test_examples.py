"""The examples in the docstrings of public names, and of the modules that have any, run as they stand."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import secateur as sc

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = [name for name in sc.__all__ if callable(getattr(sc, name)) and name != "SecateurError"]
MODULES = [
    ".".join(("secateur", *path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks", "examples", "build", ".venv")
    and path.stem not in ("__init__", "__main__")
    and ">>> " in path.read_text(encoding="utf-8")
]


def failures(tests: list[doctest.DocTest]) -> str:
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    module = importlib.import_module(name)
    assert failures(doctest.DocTestFinder().find(module, name)) == ""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_name_has_an_example_and_a_line_for_each_parameter(name: str) -> None:
    public = getattr(sc, name)
    pages = [public] if inspect.isfunction(public) else [public, *vars(public).values()]
    docs = "\n".join(filter(None, (inspect.getdoc(each) for each in pages if callable(each) or each is public)))
    docs += "".join(inspect.getdoc(each.__func__) or "" for each in pages if isinstance(each, classmethod))
    assert ">>> " in docs
    if inspect.isfunction(public):
        taken = [each.lstrip("*") for each in inspect.signature(public).parameters]
        assert [each for each in taken if f"{each}:" not in docs] == []


def test_the_names_of_the_package_are_listed() -> None:
    assert {*sc.__all__} <= {*dir(sc)}
    assert not [name for name in dir(sc) if not hasattr(sc, name)]
