"""Write the notebooks from their sources; run only those whose code has changed."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nbformat

from labkit.errors import InvalidParameter
from labkit.lab import needs
from labkit.lab.notebooks import execute, source
from labkit.lab.notebooks.execute import Notebook
from labkit.lab.notebooks.navigation import framed
from labkit.lab.notebooks.shelf import Shelf, read_counts
from labkit.lab.notebooks.source import Source

Say = Callable[[str], None]


def all_sources(shelf: Shelf) -> list[Source]:
    """Every source in order; two of one number are an error."""
    sources = [source.read(path) for path in shelf.sources()]
    numbers = [one.number for one in sources]
    for number in numbers:
        if numbers.count(number) > 1:
            raise InvalidParameter(f"two notebooks have the number {number}")
    return sources


def chosen(shelf: Shelf, words: Sequence[str]) -> Iterator[tuple[Source, list[Source]]]:
    """(source, all sources) for the notebooks that `words` name."""
    sources = all_sources(shelf)
    stems = [path.stem for path in shelf.sources(*words)]
    for one in sources:
        if one.stem in stems:
            yield one, sources


def pair(one: Source, sources: list[Source]) -> tuple[Notebook, Notebook]:
    """The attendee's notebook and the solved one, both without outputs."""
    cells = framed(one, sources)
    facts = {"number": one.number, "title": one.header.title, "minutes": one.header.minutes}
    facts["needs"] = list(one.header.needs)
    return (
        execute.notebook(source.attendee(cells), **facts, variant="attendee"),
        execute.notebook(source.solved(cells), **facts, variant="solved"),
    )


def build(shelf: Shelf, words: Sequence[str], say: Say, progress: execute.Progress) -> None:
    """Write attendee and solved notebooks, solutions and counts of the named notebooks."""
    for one, sources in chosen(shelf, words):
        attendee, solved = pair(one, sources)
        write(shelf.attendee(one.stem), attendee)
        write_json(shelf.solutions(one.number), source.solutions(one))
        stored = load(shelf.solved(one.stem))
        if stored is not None and execute.same_code(solved, stored):
            say(f"{one.stem}: code unchanged, outputs kept")
            solved = execute.carry_over(solved, stored)
        else:
            say(f"{one.stem}: running")
            executed = execute.execute(solved, shelf.notebooks, progress)
            solved = execute.keep_gated(executed, stored)
        write(shelf.solved(one.stem), solved)
        write_json(shelf.counts, {**read_counts(shelf), one.stem: counts(one)})
        for cell in never_run(solved):
            say(f"{one.stem}: {cell['id']} has not run yet: {missing(cell)}")


def counts(one: Source) -> dict[str, object]:
    """What the tests demand at least: cells in all, per need, predictions, exercises."""
    cells = one.code
    gates = [need for cell in cells for need in needs.of_tags(source.tags(cell))]
    return {
        "cells": len(cells),
        "needs": {need: gates.count(need) for need in sorted(set(gates))},
        "predictions": sum("lab.predict(" in cell.source for cell in cells),
        "exercises": len(source.solutions(one)),
        "parameters": len(source.parameter_list(one)),
    }


def never_run(notebook: Notebook) -> list[source.Cell]:
    return [c for c in notebook.cells if c.cell_type == "code" and c.execution_count is None]


def missing(cell: source.Cell) -> str:
    """Why a cell has no outputs, in words."""
    found = source.tags(cell)
    names = needs.of_tags(found) + needs.of_tags(found, needs.RECORDED)
    where = f"where there is {', '.join(names)}" if names else "with `labkit notebooks build`"
    return f"run it {where}"


def load(path: Path) -> Notebook | None:
    """The notebook at `path`, or None when there is none."""
    return nbformat.read(path, as_version=4) if path.exists() else None


def text(notebook: Notebook) -> str:
    """The bytes a notebook is stored as; an invalid one raises nbformat's ValidationError."""
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


def write(path: Path, notebook: Notebook) -> None:
    """Store it, unless the file holds the same already: an open JupyterLab would notice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = text(notebook)
    if not path.exists() or path.read_text(encoding="utf-8") != new:
        path.write_text(new, encoding="utf-8")


def read_json(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Readable, sorted, with a newline at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
