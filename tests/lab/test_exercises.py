"""What holds for every exercise of every notebook."""

import pytest

from labkit.errors import NotFound
from labkit.lab import exercises
from labkit.lab.exercise import Exercise

ALL = [kind for number in exercises.numbers() for kind in exercises.of(number)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.id)
def test_exercise_has_all_its_texts(kind: type[Exercise]) -> None:
    module = kind.__module__.rpartition(".")[2]
    assert module.partition("_")[0] == f"n{kind.id.partition('.')[0]}"
    assert len(kind.hints) == 3 and all(kind.hints)
    assert kind.title and kind.task and kind.why and kind.minutes > 0
    assert not kind.title.endswith(".")
    assert exercises.find(kind.id) is kind


def test_ids_are_unique() -> None:
    assert len({kind.id for kind in ALL}) == len(ALL)


def test_notebook_without_exercises_is_named() -> None:
    with pytest.raises(NotFound, match="no exercises for notebook '99': there are"):
        exercises.of("99")
