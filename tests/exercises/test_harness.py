"""The harness itself, proved with the fixture notebook: it can pass, and it can fail."""

from pathlib import Path

import pytest

from labkit.lab.notebooks.execute import environment
from labkit.lab.notebooks.shelf import Shelf
from labkit.lab.notebooks.source import read
from tests.exercises.harness import Seat, SeatLost, setup_cells, trials

FIXTURE = Shelf(Path(__file__).parents[1] / "notebooks/fixtures")
SOURCE = read(*FIXTURE.sources("90"))
TRIALS = trials(SOURCE)


@pytest.fixture
def seat(seats):
    return seats.open(FIXTURE, SOURCE)


def test_fixture_has_three_trials():
    assert list(TRIALS) == ["90.1", "90.2", "90.3"]


def test_as_shipped_is_not_yet(seat):
    assert "[not yet] 90.1: a number is wanted" in seat.run(TRIALS["90.1"].as_shipped()).output


@pytest.mark.parametrize("name", ["90.1", "90.2", "90.3"])
def test_solution_passes(seat, name):
    made = seat.run(TRIALS[name].as_solved())
    assert made.passed(name) and not made.raised


def test_wrong_answer_gets_a_message_and_no_pass(seat):
    made = seat.run(TRIALS["90.2"].with_answer('colour = "green"'))
    assert "not 'green'" in made.output and not made.passed("90.2")


def test_answer_takes_the_place_of_the_learners_cell_only():
    cells = TRIALS["90.3"].with_answer("lines = str")
    assert cells == ['ex = lab.exercise("90.3")', "lines = str", "ex.check(lines(2))"]


def test_reset_gives_a_fresh_stage(seat):
    seat.run(TRIALS["90.1"].as_shipped())
    assert "[broken]" in seat.run(["ex.check(42)"]).output
    assert seat.run(["ex.reset()", "ex.check(42)"]).passed("90.1")


def test_exception_is_reported_and_the_next_cell_runs(seat):
    made = seat.run(["1 / 0", "print('still here')"])
    assert made.raised == ["ZeroDivisionError"]
    assert "still here" in made.output and "division by zero" in made.output


def test_children_of_a_cell_cannot_read_the_wire(seat):
    made = seat.run(["import subprocess", "print(subprocess.run(['cat']).returncode)"])
    assert made.output.strip() == "0"


def test_dead_process_is_an_error_not_a_pass():
    with environment() as variables:
        seat = Seat(FIXTURE.notebooks, variables)
        try:
            with pytest.raises(SeatLost, match="status 3"):
                seat.run(["import os", "os._exit(3)"])
        finally:
            seat.close()


def test_setup_cells_hold_parameters_their_guard_and_imports():
    first, guard, *rest = setup_cells(SOURCE)
    assert first.startswith("size: int = 3")
    assert 'within("size", size, 1, 9)' in guard
    assert rest[-1].endswith("lab = Toy()")
