"""A seat of its own for each test: fresh LABKIT_ROOT, LABKIT_RUN, LABKIT_WORK, one fixed seed."""

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from labkit.lab import exercises
from labkit.lab.exercise import Broken, Exercise, NotYet, Skipped
from labkit.paths import Instance


@pytest.fixture
def seat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """An instance that no other test has; an open Lab is closed in the end."""
    for name in ("LABKIT_BATCH", "LABKIT_STRICT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("root", "run", "work"):
        monkeypatch.setenv(f"LABKIT_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("LABKIT_SEED", "7")
    yield Instance()
    lab_module = sys.modules.get("labkit.lab.lab")
    if lab_module and lab_module.Lab._current:
        lab_module.Lab._current.close()


@pytest.fixture
def python(seat: Instance) -> Callable[[str], str]:
    """Run lines in another process, as a notebook kernel of this seat; its output."""

    def call(code: str) -> str:
        result = run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
        return result.stdout + result.stderr

    return call


@pytest.fixture
def unique() -> str:
    """A suffix that no other run uses."""
    return secrets.token_hex(4)


class Count(Exercise):
    """A made-up exercise: the right answer is 3, other answers show each outcome."""

    id, title, minutes, task = "02.1", "count to three", 2, "Give the number three."
    hints = ("look at your hand", "count fingers", "answer = 2 + ...")
    why = "numbers matter"
    started = stopped = 0

    def start(self) -> None:
        type(self).started += 1

    def stop(self) -> None:
        type(self).stopped += 1

    def verify(self, answer: Any) -> str:
        if answer == "damage":
            raise Broken("the neighbour died")
        if answer == "no cgroup2":
            raise Skipped("there is no cgroup v2 here")
        if answer == "crash":
            raise FileNotFoundError(2, "No such file or directory", "/proc/4242/ns/pid")
        if self.need(answer, int) != 3:
            raise NotYet(f"{answer} is not what was asked for")
        return "three it is"


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> type[Count]:
    """Notebook 02 has exactly this exercise."""
    Count.started = Count.stopped = 0
    monkeypatch.setattr(exercises, "of", lambda number: (Count,))
    monkeypatch.setattr(exercises, "numbers", lambda: ["02"])
    return Count
