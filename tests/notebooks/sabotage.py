"""Break a solved notebook on purpose, and see what nbval says.

All faults of a notebook share one cut of it: the cells that show them, and what those need
(tests/notebooks/slices.py). The cut without a fault must be green, or red would prove nothing.
"""

import copy
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.lab.notebooks.build import write
from labkit.lab.notebooks.execute import Notebook
from tests.notebooks.slices import needed

ROOT = Path(__file__).parents[2]
TIMEOUT = 600


@dataclass(frozen=True)
class Mutation:
    """In the solved notebook `stem`, the one place that reads `find` becomes `replace`.

    `shown` is text of the cell whose output gives the fault away, if it is not the same cell.
    """

    stem: str
    find: str
    replace: str
    breaks: str
    shown: str = ""


def cell_with(notebook: Notebook, text: str) -> int:
    """The place of the one code cell that holds `text`."""
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    found = [i for i in code if text in notebook.cells[i].source]
    assert len(found) == 1, f"{text!r} is in {len(found)} cells"
    return found[0]


def mutated(notebook: Notebook, mutation: Mutation) -> Notebook:
    """A copy with the fault; `find` must be there once."""
    broken = copy.deepcopy(notebook)
    cell = broken.cells[cell_with(broken, mutation.find)]
    assert cell.source.count(mutation.find) == 1, f"{mutation.find!r} is twice in one cell"
    cell.source = cell.source.replace(mutation.find, mutation.replace)
    return broken


def shows(notebook: Notebook, mutation: Mutation) -> int:
    """The place of the cell that must turn red."""
    return cell_with(notebook, mutation.shown or mutation.find)


def keep(notebook: Notebook, places: list[int]) -> Notebook:
    small = copy.deepcopy(notebook)
    small.cells = [small.cells[place] for place in places]
    return small


def place_of(notebook: Notebook, place: int) -> int:
    """The number that nbval gives the cell at `place`."""
    return sum(cell.cell_type == "code" for cell in notebook.cells[:place])


def prepare(notebook: Notebook, mutations: Sequence[Mutation], directory: Path) -> list[int]:
    """Write STEM-green and a STEM-redN for each; the numbers of the cells that must fail."""
    places = needed(notebook.cells, [shows(notebook, one) for one in mutations])
    stem = mutations[0].stem
    green = keep(notebook, places)
    write(directory / f"{stem}-green.ipynb", green)
    numbers = []
    for number, mutation in enumerate(mutations):
        end = shows(green, mutation)
        red = keep(mutated(green, mutation), list(range(end + 1)))
        write(directory / f"{stem}-red{number}.ipynb", red)
        numbers.append(place_of(green, end))
    return numbers


@dataclass(frozen=True)
class Verdicts:
    """What nbval said: status of the run, (notebook, cell) -> outcome, and all its text."""

    status: int
    cells: dict[tuple[str, int], str]
    reasons: dict[tuple[str, int], str]
    text: str

    def of(self, stem: str) -> list[str]:
        return [outcome for (name, _), outcome in sorted(self.cells.items()) if name == stem]


def lenient() -> dict[str, str]:
    """Our environment without what makes a skip an error: tests of that set it themselves."""
    strict = ("CI", "LABKIT_STRICT_NEEDS")
    return {name: value for name, value in os.environ.items() if name not in strict}


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
        env={**lenient(), **(environment or {})},
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
