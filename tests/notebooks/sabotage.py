"""Break a solved notebook on purpose, and see what nbval says.

A copy that is broken in one cell is cut down to what that cell needs (tests/notebooks/slices.py).
The same cut without the fault must be green, or red would prove nothing.
"""

import copy
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.lab.notebooks.build import load, write
from labkit.lab.notebooks.execute import Notebook
from labkit.lab.notebooks.shelf import Shelf
from tests.notebooks.slices import needed

ROOT = Path(__file__).parents[2]
TIMEOUT = 600


@dataclass(frozen=True)
class Mutation:
    """In the solved notebook `stem`, the one place that reads `find` becomes `replace`."""

    stem: str
    find: str
    replace: str
    breaks: str


def mutated(notebook: Notebook, mutation: Mutation) -> tuple[Notebook, str]:
    """(a copy with the fault, the id of the cell that has it); `find` must be there once."""
    found = [c for c in notebook.cells if c.cell_type == "code" and mutation.find in c.source]
    assert len(found) == 1, f"{mutation.find!r} is in {len(found)} cells of {mutation.stem}"
    broken = copy.deepcopy(notebook)
    cell = next(c for c in broken.cells if c["id"] == found[0]["id"])
    assert cell.source.count(mutation.find) == 1, f"{mutation.find!r} is twice in one cell"
    cell.source = cell.source.replace(mutation.find, mutation.replace)
    return broken, cell["id"]


def cut(notebook: Notebook, cell_id: str) -> Notebook:
    """The cell and what it needs."""
    place = [cell["id"] for cell in notebook.cells].index(cell_id)
    small = copy.deepcopy(notebook)
    small.cells = [small.cells[one] for one in needed(notebook.cells, [place])]
    return small


def place_of(notebook: Notebook, cell_id: str) -> int:
    """The number that nbval gives the cell."""
    return [c["id"] for c in notebook.cells if c.cell_type == "code"].index(cell_id)


def prepare(shelf: Shelf, name: str, mutation: Mutation, directory: Path) -> int:
    """Write NAME-green and NAME-red; the number of the cell that must fail in the red one."""
    notebook = load(shelf.solved(mutation.stem))
    broken, cell_id = mutated(notebook, mutation)
    red = cut(broken, cell_id)
    write(directory / f"{name}-green.ipynb", cut(notebook, cell_id))
    write(directory / f"{name}-red.ipynb", red)
    return place_of(red, cell_id)


@dataclass(frozen=True)
class Verdicts:
    """What nbval said: status of the run, (notebook, cell) -> outcome, and all its text."""

    status: int
    cells: dict[tuple[str, int], str]
    reasons: dict[tuple[str, int], str]
    text: str

    def of(self, stem: str) -> list[str]:
        return [outcome for (name, _), outcome in sorted(self.cells.items()) if name == stem]


def nbval(directory: Path, environment: Mapping[str, str] | None = None) -> Verdicts:
    """Run `pytest --nbval` on `directory`/notebooks with this project's conftest."""
    conftest = directory / "notebooks/conftest.py"
    conftest.write_text((ROOT / "notebooks/conftest.py").read_text())
    report = directory / "junit.xml"
    command = [sys.executable, "-m", "pytest", "--nbval", "notebooks", f"--rootdir={directory}"]
    command += [
        "-p",
        "no:cacheprovider",
        "-rs",
        f"--junitxml={report}",
        "-o",
        "junit_family=xunit1",
    ]
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert report.exists(), done.stdout + done.stderr
    cells, reasons = {}, {}
    for case in ElementTree.parse(report).iter("testcase"):
        if not case.get("name", "").startswith("Cell "):
            continue
        key = (Path(case.get("file", "")).stem, int(case.get("name", "").split()[1]))
        bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        cells[key] = "passed" if bad is None else bad.tag
        reasons[key] = "" if bad is None else f"{bad.get('message')}\n{bad.text}"
    return Verdicts(done.returncode, cells, reasons, done.stdout + done.stderr)
