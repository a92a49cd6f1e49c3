"""How the package is built: rooms, floors, arrows and circles, and what is long, wide or looked up by string.

    python benchmarks/house.py [CHECKOUT ...]

Reads files only, so that any two checkouts can stand side by side; prints a JSON object for each. A room is a folder
with modules and no folders; a module beside folders is a room of its own. An arrow is an import from one room of
another, wherever it stands, types included. The floor of a room is one above the highest that it imports. "at the top"
takes the folders and modules of the root for rooms. A string lookup is ``x["word"]`` or ``x.get("word")``.
"""

import ast
import json
import sys
from collections.abc import Callable
from importlib.util import resolve_name
from pathlib import Path

CUSTOMERS = {"benchmarks", "tests", "build", "examples", "docs"}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its name, ``models.costs.cost``; a package's ``__init__`` is the package."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in CUSTOMERS and not parts[0].startswith("."):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"] = path
    return found


def room(name: str, known: dict[str, Path]) -> str:
    """The folder of a module; one beside folders is its own room."""
    path = known[name]
    beside = any((folder / "__init__.py").exists() for folder in path.parent.iterdir() if folder.is_dir())
    return name if beside or path.name == "__init__.py" else name.rpartition(".")[0]


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """The modules that a module imports, anywhere in it."""
    full = f"p.{name}" if name != "__init__" else "p"
    package = full if known[name].name == "__init__.py" else full.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            source = resolve_name("." * node.level + (node.module or ""), package).removeprefix("p").lstrip(".")
            for alias in node.names:
                inner = f"{source}.{alias.name}".lstrip(".")
                found.add(inner if inner in known else source or "__init__")
    return found & known.keys()


def floors(graph: dict[str, set[str]]) -> tuple[int, int]:
    """How many floors there are, and how many rooms lie on a circle."""
    height: dict[str, int] = {}
    left = dict(graph)
    while ready := [name for name, below in left.items() if not below & left.keys() - {name}]:
        for name in ready:
            height[name] = 1 + max((height[each] for each in left.pop(name) if each in height), default=0)
    return max(height.values(), default=0), len(left)


def plan(known: dict[str, Path], room_of: Callable[[str], str]) -> dict[str, int]:
    """Rooms, floors, arrows, and how many rooms lie on a circle."""
    graph: dict[str, set[str]] = {}
    for name in known:
        graph.setdefault(room_of(name), set()).update(map(room_of, imports(name, known)))
    apart = {name: below - {name} for name, below in graph.items()}
    high, circled = floors(apart)
    return {"rooms": len(apart), "floors": high, "arrows": sum(map(len, apart.values())), "on a circle": circled}


def measure(root: Path) -> dict[str, object]:
    """The figures of one checkout."""
    known = modules(root)
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in known.items()}
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {
        "at the top": plan(known, lambda name: name.partition(".")[0]),
        "with inner rooms": plan(known, lambda name: room(name, known)),
        "loose modules in the root": sum("." not in name and path.parent == root for name, path in known.items()),
        "modules": len(known),
        "lines": sum(path.read_text(encoding="utf-8").count("\n") for path in known.values()),
        "functions": len(functions),
        "with seven parameters or more": sum(parameters(each) >= 7 for each in functions),
        "with more than four positional": sum(positional(each) > 4 for each in functions),
        "longer than 25 lines": sum(body(each) > 25 for each in functions),
        "string lookups": sum(lookup(node) for tree in trees.values() for node in ast.walk(tree)),
    }


def parameters(function: ast.FunctionDef) -> int:
    """How many it takes, without self and cls."""
    return positional(function) + len(function.args.kwonlyargs)


def positional(function: ast.FunctionDef) -> int:
    """How many it takes by position, without self and cls."""
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def body(function: ast.FunctionDef) -> int:
    """Its lines without its docstring."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def lookup(node: ast.AST) -> bool:
    """Whether it looks something up by a string that is written down."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
    get = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
    return get and bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)  # type: ignore[attr-defined]


if __name__ == "__main__":
    for checkout in sys.argv[1:] or [str(Path(__file__).parents[1])]:
        print(json.dumps({"checkout": checkout, **measure(Path(checkout).resolve())}, indent=1))
