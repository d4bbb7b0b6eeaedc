"""What one learner has done: one JSON file in the learner's folder that survives every restart.

$LABKIT_WORK/.labkit/progress.json, schema 1:
    seed          drawn once for this learner
    exercises     id -> {attempts, passed, hints, solution}
    predictions   id -> {choice, when, revealed, right}

A broken file is set aside and said so; where the folder cannot be written, progress is kept in
memory and said so. Nothing here ever stops a lesson.
"""

import argparse
import contextlib
import copy
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from labkit import store
from labkit.lab import settings
from labkit.lab.card import Card

SCHEMA = 1
State = dict[str, Any]

BLANK: State = {"schema": SCHEMA, "exercises": {}, "predictions": {}}
MARK = {"attempts": 0, "passed": False, "hints": 0, "solution": False}


class Progress:
    """Reads at each question and writes at each change, so several kernels may share the file."""

    def __init__(self, work: Path | None = None) -> None:
        self.folder = (work or settings.work()) / ".labkit"
        self.path = self.folder / "progress.json"
        self._memory: State | None = None

    @property
    def stored(self) -> bool:
        """False when the file cannot be used and progress lasts as long as this kernel."""
        return self._memory is None

    @property
    def seed(self) -> int:
        """LABKIT_SEED, else this learner's own seed, drawn at the first question."""
        if (given := settings.seed()) is not None:
            return given
        if "seed" not in (state := self.read()):
            with self.change() as state:
                state.setdefault("seed", secrets.randbelow(10**9))
        return int(state["seed"])

    def exercise(self, id: str) -> State:
        """{attempts, passed, hints, solution} of one exercise."""
        entry: State = self.read()["exercises"].get(id, {})
        return MARK | entry

    def mark(self, id: str, changes: State) -> None:
        """Change some of {attempts, passed, hints, solution}."""
        with self.change() as state:
            state["exercises"][id] = MARK | state["exercises"].get(id, {}) | changes

    def prediction(self, id: str) -> State:
        """{choice, when, revealed, right} of one prediction; empty when there is none."""
        return dict(self.read()["predictions"].get(id, {}))

    def predict(self, id: str, entry: State) -> None:
        with self.change() as state:
            state["predictions"][id] = entry

    def card(self) -> Card:
        """What was passed, and what was predicted right, as facts."""
        state = self.read()
        passed = [id for id, mark in sorted(state["exercises"].items()) if mark.get("passed")]
        said = [entry for entry in state["predictions"].values() if entry.get("revealed")]
        right = sum(bool(entry.get("right")) for entry in said)
        facts: dict[str, object] = {
            "exercises passed": passed,
            "predictions right": f"{right} of {len(said)}",
        }
        return Card("progress", facts, live={"kept in": self.path if self.stored else "memory"})

    def map(self) -> Card:
        """How much of `docker run` is owned so far."""
        from labkit.lab.owned import owned

        return owned(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return self.card()._repr_mimebundle_()

    def read(self) -> State:
        """A copy of the whole state."""
        return self._load() if self._memory is None else copy.deepcopy(self._memory)

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """The state to be changed; it is written when the block ends without an exception."""
        with self._locked():
            state = self.read()
            yield state
            if self._memory is None:
                try:
                    store.write_json(os.fspath(self.path), state)
                except OSError as error:
                    self._give_up(f"{self.path} cannot be written ({error.strerror})", state)
                return
            self._memory = state

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder's lock, where there is a folder that can be had."""
        with contextlib.ExitStack() as stack:
            if self._memory is None:
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(store.locked(os.fspath(self.folder)))
                except OSError as error:
                    self._give_up(f"{self.folder} cannot be used ({error.strerror})", self._load())
            yield

    def _load(self) -> State:
        try:
            state = store.read_json(os.fspath(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return copy.deepcopy(BLANK)
        except OSError as error:
            self._give_up(f"{self.path} cannot be read ({error.strerror})", BLANK)
            return copy.deepcopy(BLANK)
        except (json.JSONDecodeError, UnicodeDecodeError):
            return self._set_aside("is not JSON")
        if not _is_state(state):
            return self._set_aside("does not hold labkit's progress")
        if state["schema"] > SCHEMA:
            self._give_up(f"{self.path} was written by a newer labkit", BLANK)
            return copy.deepcopy(BLANK)
        return state  # type: ignore[no-any-return]  # checked by _is_state

    def _set_aside(self, why: str) -> State:
        aside = _free(self.path.with_name("progress.broken.json"))
        try:
            os.rename(self.path, aside)
        except OSError as error:
            self._give_up(f"{self.path} {why} and cannot be moved ({error.strerror})", BLANK)
        else:
            print(f"[note] {self.path} {why}: it is now {aside.name}, and progress begins anew")
        return copy.deepcopy(BLANK)

    def _give_up(self, why: str, state: State) -> None:
        self._memory = copy.deepcopy(state)
        print(f"[note] {why}: progress is kept only as long as this kernel runs")


def _is_state(state: object) -> bool:
    if not isinstance(state, dict) or not isinstance(state.get("schema"), int):
        return False
    parts = (state.get("exercises"), state.get("predictions"))
    if not all(isinstance(part, dict) for part in parts):
        return False
    return all(isinstance(entry, dict) for part in parts for entry in part.values())  # type: ignore[union-attr]


def _free(path: Path) -> Path:
    """path, or the first of path-2, path-3 ... that is not taken."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


def main(arguments: Sequence[str] | None = None) -> int:
    """`labkit progress`: what was passed and predicted, and how much of docker run is owned."""
    description = "Show the exercises passed and the predictions made, and what they add up to."
    argparse.ArgumentParser(prog="labkit progress", description=description).parse_args(arguments)
    progress = Progress()
    print(progress.card().text)
    print(progress.map().text)
    return 0
