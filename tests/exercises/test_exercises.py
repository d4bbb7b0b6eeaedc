"""Every exercise in three ways: as shipped, solved, and answered wrong.

Each runs alone after its notebook's setup cells; ex.reset() stands between two attempts.
"""

import importlib
import os
from pathlib import Path

import pytest

from labkit.lab import needs
from labkit.lab.notebooks import source
from labkit.lab.notebooks.build import all_sources
from labkit.lab.notebooks.shelf import Shelf, read_counts
from tests.exercises.harness import Attempt, Trial, setup_cells, trials

SHELF = Shelf(Path(__file__).parents[2])
SOURCES = {one.number: one for one in all_sources(SHELF)}
TRIALS = {number: trials(one) for number, one in SOURCES.items()}
NAMES = [name for number in TRIALS for name in TRIALS[number]]


def wrong_answers(number: str) -> dict[str, list[tuple[str, str]]]:
    """exercise id -> (code, fragment of the message); nothing where there is no file yet."""
    try:
        return importlib.import_module(f"tests.exercises.wrong_{number}").WRONG
    except ModuleNotFoundError:
        return {}


WRONG = {number: wrong_answers(number) for number in SOURCES}
CATALOGUE = [
    pytest.param(name, code, fragment, id=f"{name}-wrong-{n}")
    for number in WRONG
    for name, answers in sorted(WRONG[number].items())
    for n, (code, fragment) in enumerate(answers, start=1)
]


def trial(name: str) -> Trial:
    return TRIALS[name.partition(".")[0]][name]


def attempt(seats, name: str, cells: list[str]) -> Attempt:
    """Run the cells of an exercise, then reset it; skipped where a need of it is not met."""
    gated = [need for cell in trial(name).solved for need in needs.of_tags(source.tags(cell))]
    missing = needs.lacking(gated)
    if missing:
        pytest.skip(needs.because(missing))
    seat = seats.open(SHELF, SOURCES[name.partition(".")[0]])
    made = seat.run(cells)
    after = seat.run(["ex.reset()"])
    assert not after.raised, after.output
    assert "[skipped" not in made.output, made.output
    return made


@pytest.mark.parametrize("name", NAMES)
def test_exercise_is_not_passed_as_shipped(seats, name):
    made = attempt(seats, name, trial(name).as_shipped())
    assert not made.passed(name)
    assert f"[not yet] {name}" in made.output


@pytest.mark.parametrize("name", NAMES)
def test_solution_passes(seats, name):
    made = attempt(seats, name, trial(name).as_solved())
    assert made.passed(name), made.output
    assert not made.raised, made.output


@pytest.mark.parametrize(("name", "code", "fragment"), CATALOGUE)
def test_wrong_answer_gets_its_message(seats, name, code, fragment):
    made = attempt(seats, name, trial(name).with_answer(code))
    assert fragment in made.output, made.output
    assert not made.passed(name)


@pytest.mark.parametrize("number", SOURCES)
def test_every_exercise_has_three_wrong_answers(number):
    counts = {name: len(WRONG[number].get(name, [])) for name in TRIALS[number]}
    assert all(count >= 3 for count in counts.values()), counts
    assert set(WRONG[number]) <= set(counts), "answers to exercises that are not there"


@pytest.mark.parametrize("number", SOURCES)
def test_as_many_exercises_as_counted(number):
    counts = read_counts(SHELF)[SOURCES[number].stem]
    assert len(TRIALS[number]) == counts["exercises"] >= 3


@pytest.mark.parametrize("number", SOURCES)
def test_setup_cells_are_tagged(number):
    assert setup_cells(SOURCES[number]), os.fspath(SHELF.notebooks)
