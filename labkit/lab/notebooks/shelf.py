"""Where everything about notebooks lies, relative to one root: the checkout, or a test's copy."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labkit
from labkit.errors import NotFound


@dataclass(frozen=True)
class Shelf:
    """The directories and files of one set of notebooks."""

    root: Path

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def counts(self) -> Path:
        """How many cells, predictions and exercises each notebook has: the test's minimum."""
        return self.root / "tests/notebooks/counts.json"

    def attendee(self, stem: str) -> Path:
        return self.notebooks / f"{stem}.ipynb"

    def solved(self, stem: str) -> Path:
        return self.notebooks / "solved" / f"{stem}.ipynb"

    def solutions(self, number: str) -> Path:
        """exercise id -> the text of its solution, for ex.solution(); it is package data."""
        return self.root / "labkit/lab/solutions" / f"{number}.json"

    def sources(self, *words: str) -> list[Path]:
        """The source files whose number or name is among `words`, or all; NotFound for others."""
        everything = sorted((self.notebooks / "source").glob("[0-9][0-9]-*.py"))
        for word in words:
            if not any(_named(path, word) for path in everything):
                raise NotFound(f"no notebook {word!r} in {self.notebooks / 'source'}")
        return [p for p in everything if not words or any(_named(p, word) for word in words)]


def _named(path: Path, word: str) -> bool:
    return word in (path.stem, path.stem.partition("-")[0], path.name)


def here(root: str | None = None) -> Shelf:
    """The shelf at `root`, else around the working directory, else the one labkit came from."""
    if root is not None:
        return Shelf(Path(root).resolve())
    candidates = [Path.cwd(), *Path.cwd().parents, Path(labkit.__file__).parent.parent]
    for candidate in candidates:
        if (candidate / "notebooks" / "source").is_dir():
            return Shelf(candidate)
    raise NotFound(f"no notebooks/source here or above {os.getcwd()}")


def read_counts(shelf: Shelf) -> dict[str, Any]:
    """notebook stem -> its counts; nothing when the file is not there yet."""
    if not shelf.counts.exists():
        return {}
    counts: dict[str, Any] = json.loads(shelf.counts.read_text(encoding="utf-8"))
    return counts
