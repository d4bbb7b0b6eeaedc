"""Faults that an attendee's world could have, put into the real notebooks: nbval must turn red.

One line here for each thing that a notebook's output must prove. `find` is text of one code cell
of the solved notebook, `replace` what breaks it. Only what the cell needs is run, once with the
fault and once without; the run without it must be green.
"""

from pathlib import Path

import pytest

from labkit.lab.notebooks.shelf import Shelf
from tests.notebooks.sabotage import Mutation, nbval, prepare

SHELF = Shelf(Path(__file__).parents[2])

MUTATIONS: tuple[Mutation, ...] = (
    Mutation("00-start-here", "outcomes = reset(lab.instance)", "outcomes = []", "reset"),
    Mutation("00-start-here", "started + 1)", "started)", "telling owners apart by start time"),
)

#: as many for each notebook that is there
LEAST = 2
SOLVED = sorted(path.stem for path in (SHELF.notebooks / "solved").glob("*.ipynb"))


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """One run of nbval over all of them, and the number of each broken cell."""
    root = tmp_path_factory.mktemp("mutations")
    solved = root / "notebooks/solved"
    places = {
        mutation: prepare(SHELF, f"mutation{number}", mutation, solved)
        for number, mutation in enumerate(MUTATIONS)
    }
    return nbval(root), places


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.stem}: {one.breaks}")
def test_fault_turns_nbval_red(verdicts, mutation):
    said, places = verdicts
    name = f"mutation{MUTATIONS.index(mutation)}"
    bad = [text for (copy, _), text in said.reasons.items() if copy == f"{name}-green" and text]
    assert all("skipped, because" in text for text in bad), bad
    assert said.cells[f"{name}-green", places[mutation]] == "passed", "it did not run here"
    assert said.cells[f"{name}-red", places[mutation]] == "failure"


@pytest.mark.parametrize("stem", SOLVED)
def test_every_notebook_has_faults(stem):
    assert sum(mutation.stem == stem for mutation in MUTATIONS) >= LEAST
