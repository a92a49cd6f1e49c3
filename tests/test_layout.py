"""The layout's rules: who imports whom, what is shipped, what stays out."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import secateur

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("data", "deploy", "models", "pipeline", "reports", "rundir", "search", "stages", "transfer")
LEAVES = {"allocator", "digests", "errors", "files", "progress", "seeds", "signals", "signatures"}
ROOT_MODULES = {"__init__", "__main__", *LEAVES}
PARTS = {*FOLDERS, *ROOT_MODULES} - {"__init__"}
# A row a room: what it may import, beside the leaves, which import each other alone.
MAY_IMPORT: dict[str, set[str]] = {
    "models": set(),
    "data": {"models"},
    "search": {"models"},
    "transfer": {"models"},
    "rundir": {"models"},
    "reports": {"models", "rundir"},
    "pipeline": {"models", "data", "search", "transfer", "rundir", "reports"},
    "stages": {"models", "data", "search", "transfer", "rundir", "reports", "pipeline"},
    "deploy": {"models", "data", "search", "rundir", "pipeline"},
    "__main__": {*PARTS, "__init__"},
    "__init__": PARTS - {"__main__"},
}
# Rooms inside rooms, each floor above those that it may import; rooms of one floor do not know each other.
FLOORS: dict[str, list[set[str]]] = {
    "models": [
        {"tracing", "patterns", "score", "seal", "inputs"},
        {"costs", "subnetwork", "zoo", "tasks", "outputs"},
        {"split", "class_scores"},
        {"evaluate"},
        {"structure"},
        {"surgery", "bottlenecks", "precision", "module_outputs"},
        {"timing"},
        {"supernet"},
        {"compensation", "files"},
    ],
    "search": [
        {"importance", "early_stopping"},
        {"evaluation", "allocation"},
        {"records", "samplers"},
        {"pareto", "evidence", "greedy"},
        {"coarse", "config"},
        {"refine", "sensitivity"},
        {"coarse_to_fine"},
    ],
    "transfer": [{"losses"}, {"bank"}, {"objectives"}, {"training", "methods"}, {"joint"}],
}
# Modules whose tests stand in a file of another name: those of what they make together.
TESTED_TOGETHER = {
    "test_config.py": {"rundir/options.py", "rundir/command_options.py"},
    "test_choices.py": {"rundir/titles.py"},
    "test_dataset.py": {"data/decoding.py", "data/images.py", "data/order.py"},
    "test_evaluate.py": {"models/score.py"},
    "test_alone.py": {"deploy/origin.py"},
    "test_joint_train.py": {"pipeline/joint.py", "stages/joint_run.py"},
    "test_main.py": {"reports/inspection.py"},
    "test_measure.py": {"rundir/measured.py"},
    "test_pipeline.py": {f"pipeline/{name}.py" for name in ("finetune", "found", "images", "outcomes", "search")},
    "test_results.py": {"rundir/front.py"},
    "test_run.py": {f"stages/{name}.py" for name in ("common", "prepare", "search_run")},
    "test_tables.py": {"reports/titles.py"},
    "test_task.py": {"models/tasks/metric.py"},
}
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "torch.load", "torch.save"}
HEAVY = {"torch", "torchvision", "numpy", "optuna", "faiss", "matplotlib", "sklearn", "safetensors", "timm"}

PACKAGE = [*sorted(ROOT.glob("*.py")), *(path for f in FOLDERS for path in sorted((ROOT / f).rglob("*.py")))]
CUSTOMERS = [path for f in ("benchmarks", "examples", "tests") for path in sorted((ROOT / f).rglob("*.py"))]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """``search/coarse.py`` → ``secateur.search.coarse``; a package's ``__init__`` is the package."""
    return ".".join(("secateur", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE}


def part(path: Path) -> str:
    """The folder, or root module, that a file of the package belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def nodes(path: Path, *, with_types: bool = True) -> Iterator[ast.AST]:
    """All nodes of a file, or all but those that only type checkers read."""
    left: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), shown(path))]
    while left:
        node = left.pop()
        yield node
        typing = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if with_types or not typing:
            left.extend(ast.iter_child_nodes(node))


def imported(path: Path, *, with_types: bool = True) -> Iterator[str]:
    """The full names that a file imports: ``from ..models.cost import macs`` → secateur.models.costs.cost.macs."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes(path, with_types=with_types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def part_of_name(name: str) -> str | None:
    """The part of the package that an imported name lies in; None for other people's packages."""
    first, *rest = name.split(".")
    if first == "secateur":
        return rest[0] if rest and rest[0] in PARTS else "__init__"
    return first if first in PARTS else None


def modules_imported(path: Path) -> set[str]:
    """The modules of the package that this one imports, at once or inside a function."""
    named = {name if name in MODULES else name.rpartition(".")[0] for name in imported(path, with_types=False)}
    return {name for name in named if name in MODULES}


def test_imports_run_one_way() -> None:
    wrong = [
        f"{shown(path)} imports {name}"
        for path in PACKAGE
        for name in imported(path)
        if (target := part_of_name(name)) and target not in {part(path), *LEAVES, *MAY_IMPORT.get(part(path), set())}
    ]
    assert wrong == []


def test_the_package_imports_itself_relatively() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}: {ast.unparse(node)}"
        for path in PACKAGE
        for node in nodes(path)
        if (isinstance(node, ast.Import) and any(part_of_name(alias.name) for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and part_of_name(node.module or ""))
    ]
    assert wrong == []


def test_customers_use_the_public_name_only() -> None:
    wrong = [
        f"{shown(path)} imports {name}"
        for path in CUSTOMERS
        for name in imported(path)
        if name.split(".")[0] in PARTS or name.startswith(("secateur.tests", "secateur.benchmarks"))
    ]
    assert wrong == []


def test_no_module_waits_for_itself() -> None:
    graph = {name: modules_imported(path) - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("part_name", FLOORS)
def test_inner_rooms_import_those_below_them_alone(part_name: str) -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS[part_name]) for room in rooms}
    paths = [
        path for path in PACKAGE if part(path) == part_name and path.parent.name + path.stem != part_name + "__init__"
    ]
    inner = {path: path.relative_to(ROOT / part_name).with_suffix("").parts[0] for path in paths}
    assert {*inner.values()} == floor.keys()
    wrong = [
        f"{shown(path)} imports {name}"
        for path, here in inner.items()
        for name in imported(path)
        if name.startswith(f"secateur.{part_name}.")
        and (there := name.split(".")[2]) != here
        and floor[there] >= floor[here]
    ]
    assert wrong == []


def test_every_folder_of_the_package_is_shipped() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    ours = [f for f in ROOT.iterdir() if f.is_dir() and f.name[0] != "." and f.name not in {"build", "dist"}]
    folders = [init.parent.relative_to(ROOT) for folder in ours for init in folder.rglob("__init__.py")]
    listed = sorted(setup["options"]["packages"].split())
    assert listed == sorted(["secateur", *(".".join(("secateur", *folder.parts)) for folder in folders)])


def test_the_root_holds_no_stray_module() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} - ROOT_MODULES == set()


def test_nothing_is_pickled() -> None:
    wrong = [
        f"{shown(path)} imports {name}"
        for path in PACKAGE
        for name in imported(path)
        if name in PICKLES or name.split(".")[0] in PICKLES
    ]
    wrong += [
        f"{shown(path)}:{node.lineno}: {ast.unparse(node)}"
        for path in PACKAGE
        for node in nodes(path)
        if isinstance(node, ast.Call) and pickles(node)
    ]
    assert wrong == []


def pickles(call: ast.Call) -> bool:
    """Whether a call reads or writes pickles: torch.save, torch.load of more than weights, NumPy objects."""
    function = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    unsafe_load = function == "torch.load" and options.get("weights_only") != "True"
    return function == "torch.save" or unsafe_load or options.get("allow_pickle", "False") != "False"


def test_no_public_name_hides_a_module() -> None:
    assert set(secateur.__all__) & PARTS == set()


@pytest.mark.parametrize(
    ("library", "home"),
    [("optuna", ("search/refine/", "search/samplers/")), ("faiss", ("transfer/", "models/files/library.py"))],
)
def test_a_library_stays_where_it_is_known(library: str, home: tuple[str, ...]) -> None:
    users = [shown(p) for p in PACKAGE if any(name.split(".")[0] == library for name in imported(p))]
    assert [user for user in users if not user.startswith(home)] == []


@pytest.mark.parametrize("command", [("-c", "import secateur"), ("-m", "secateur", "--help")], ids=" ".join)
def test_a_first_look_loads_no_heavy_library(command: tuple[str, ...], tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=tmp_path,  # not the checkout: the installed package is what answers
        capture_output=True,
        text=True,
    )
    lines = run.stderr.splitlines()
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in lines}
    assert run.returncode == 0, [line for line in lines if not line.startswith("import time:")]
    assert loaded & HEAVY == set()
    assert "secateur" in loaded


def test_every_module_has_its_tests() -> None:
    tested = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    together = {module for file, modules in TESTED_TOGETHER.items() if file in tested for module in modules}
    modules = {shown(path): path for path in PACKAGE if path.stem != "__init__"}
    names = {each: {f"test_{p.stem.strip('_')}.py", f"test_{p.parent.name}_{p.stem}.py"} for each, p in modules.items()}
    assert [each for each in modules if not names[each] & tested and each not in together] == []
    assert together - modules.keys() == set()


def test_every_file_stays_short() -> None:
    lines = {shown(path): path.read_text(encoding="utf-8").count("\n") for path in [*PACKAGE, *CUSTOMERS]}
    assert {path: count for path, count in lines.items() if count >= 400} == {}
