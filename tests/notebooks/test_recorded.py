"""A cell tagged recorded:NAME runs everywhere, and is compared only where NAME is there."""

from pathlib import Path

import nbformat
import pytest

from labkit.lab.notebooks import execute
from labkit.lab.notebooks.build import load, write
from tests.notebooks.sabotage import nbval

STEM = "90-fixture"


@pytest.fixture
def place(shelf) -> int:
    """Tag a cell whose stored output is wrong; the number of the cell."""
    notebook = load(shelf.solved(STEM))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (cell,) = (cell for cell in code if "sum(numbers)" in cell.source)
    cell.source = cell.source.replace("sum(numbers)", "sum(numbers) + 1")
    cell.metadata["tags"] = ["recorded:bwrap"]
    write(shelf.solved(STEM), notebook)
    return code.index(cell)


def test_without_the_need_it_runs_and_is_not_compared(shelf, place, without_bwrap):
    assert nbval(shelf.root, without_bwrap).cells[STEM, place] == "passed"


def test_without_the_need_it_is_red_in_ci(shelf, place, without_bwrap):
    run = nbval(shelf.root, {**without_bwrap, "CI": "true"})
    assert run.cells[STEM, place] == "error"
    assert "this machine must have what the cell needs: bwrap" in run.text


def test_with_the_need_it_is_compared(shelf, place, with_bwrap):
    assert nbval(shelf.root, with_bwrap).cells[STEM, place] == "failure"


def test_recorded_outputs_are_never_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cell = nbformat.v4.new_code_cell("print('recorded')", metadata={"tags": ["recorded:bwrap"]})
    monkeypatch.setenv("PATH", "/nonexistent")
    (ran,) = execute.execute(execute.notebook([cell]), tmp_path).cells
    assert ran.outputs == [] and ran.execution_count is None
