"""Finds exercises: module n02 holds those of notebook 02 in its tuple EXERCISES."""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from labkit.errors import NotFound

if TYPE_CHECKING:
    from labkit.lab.exercise import Exercise


def numbers() -> list[str]:
    """The notebooks that have exercises: ["00", "01", ...]."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name[1:] for name in names if name[:1] == "n" and name[1:].isdigit())


def of(number: str) -> "tuple[type[Exercise], ...]":
    """The exercises of one notebook, in order; NotFound when it has none."""
    if number not in numbers():
        raise NotFound(f"no exercises for notebook {number!r}: there are {', '.join(numbers())}")
    found: tuple[type[Exercise], ...] = import_module(f"{__name__}.n{number}").EXERCISES
    return found


def find(id: str) -> "type[Exercise]":
    """The exercise with this id, "02.1"; NotFound names those that exist."""
    known = {exercise.id: exercise for exercise in of(id.partition(".")[0])}
    if id not in known:
        raise NotFound(f"no exercise {id!r}: there are {', '.join(known)}")
    return known[id]
