"""Notebooks in examples/ run as they are, in their small form, and show what they say."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
USUAL, SMALL = "EPOCHS, TRIALS, SIDE = 10, 60, 16", "EPOCHS, TRIALS, SIDE = 1, 1, 8"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's client


def executed(path: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook in its small form, run in its folder. An error in a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert USUAL in first.source
    first.source = first.source.replace(USUAL, SMALL)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: dict[str, Any]) -> str:
    """What a cell shows as HTML; empty where it shows text alone."""
    return "".join(each["data"].get("text/html", "") for each in cell["outputs"] if "data" in each)


def test_the_notebook_shows_the_profile_the_front_and_the_widths() -> None:
    cells = executed(EXAMPLES / "front_and_widths.ipynb")
    profile, found = [html for cell in cells if (html := shown(cell))]
    assert "<th>channel group</th>" in profile
    assert "can be met" in profile
    assert "<td>winner</td>" in found
    assert found.count('<img src="data:image/png;base64,') == 2
    assert all("accuracy" in str(cells[place]["outputs"]) for place in (1, -1))


def test_every_notebook_is_kept_without_outputs() -> None:
    notebooks = [nbformat.read(path, as_version=4) for path in EXAMPLES.glob("*.ipynb")]
    assert len(notebooks) == 1
    assert not any(cell.get("outputs") for notebook in notebooks for cell in notebook.cells)
