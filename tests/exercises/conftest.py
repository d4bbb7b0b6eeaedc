"""Seats for exercises: one process per notebook, started when its first exercise is tried."""

import contextlib

import pytest

from labkit.lab.notebooks.execute import environment
from labkit.lab.notebooks.shelf import Shelf
from labkit.lab.notebooks.source import Source
from labkit.paths import Instance
from tests import leaks
from tests.exercises.harness import Seat, setup_cells


class Seats:
    """At most one seat is open: the next notebook's tests close the one before."""

    def __init__(self) -> None:
        self.stack, self.key, self.seat = contextlib.ExitStack(), None, None
        self.instance = Instance()
        self.before = {}

    def open(self, shelf: Shelf, one: Source) -> Seat:
        """The notebook's seat, its setup cells run."""
        key = (shelf, one.stem)
        if key != self.key or self.seat.process.poll() is not None:
            self.close()
            self.before = leaks.of_instance(self.instance)
            self.seat = Seat(shelf.notebooks, self.stack.enter_context(environment()))
            self.stack.callback(self.seat.close)
            began = self.seat.run(setup_cells(one))
            assert not began.raised, f"a setup cell of {one.stem} raised:\n{began.output}"
            self.key = key
        return self.seat

    def close(self) -> None:
        """End the seat; whatever is still there then was left behind by its notebook."""
        if self.seat is None:
            return
        name, self.key, self.seat = self.key, None, None
        self.stack.close()
        left = leaks.settled(self.before, lambda: leaks.of_instance(self.instance))
        assert not left, f"left behind by {name}:\n  " + "\n  ".join(left)


@pytest.fixture(scope="session")
def seats():
    manager = Seats()
    yield manager
    manager.close()
