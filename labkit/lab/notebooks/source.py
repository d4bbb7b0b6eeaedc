"""A notebook's source, jupytext py:percent, and its two readings.

In a code cell, the lines between BEGIN and END belong to the solution: the attendee's notebook has
not got them, the solved one has them without the markers. A line that starts with `# ~ ` is the
other way round. A cell tagged "solution-only" is in the solved notebook only. Markers and tags:
docs/NOTEBOOKS.md.
"""

import copy
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from labkit.errors import InvalidParameter, Unavailable
from labkit.lab import needs, parameters

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
ATTENDEE = re.compile(r"^(\s*)# ?~ ")  # formatters put a blank behind the #
EXERCISE = "exercise-"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
IMPORTS = "from labkit.lab.parameters import "

Cell = Any  # an nbformat.NotebookNode


@dataclass(frozen=True)
class Header:
    """The `labkit:` block of a source file; minutes are estimates for a first-time learner."""

    title: str
    minutes: int
    fast: int
    needs: tuple[str, ...]
    requires: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """One source file; cells have their ids and generated lines, but no variant is chosen yet."""

    stem: str
    header: Header
    cells: list[Cell]

    @property
    def number(self) -> str:
        return self.stem.partition("-")[0]

    @property
    def code(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.cell_type == "code"]


def tags(cell: Cell) -> list[str]:
    return list(cell.metadata.get("tags", []))


def exercise_of(cell: Cell) -> str | None:
    """The exercise that a cell belongs to, such as "02.1"."""
    return next((tag[len(EXERCISE) :] for tag in tags(cell) if tag.startswith(EXERCISE)), None)


def read(path: Path) -> Source:
    """The source at `path`; InvalidParameter says what is wrong with its header or markers."""
    try:
        import jupytext
    except ModuleNotFoundError:
        raise Unavailable("jupytext is missing: `uv sync` installs it") from None
    notebook = jupytext.read(path)
    cells = [_tidy(cell) for cell in notebook.cells if cell.source.strip()]
    for cell in cells:
        list(_parts(cell))
    header = _header(path, notebook.metadata.get("labkit", {}))
    return Source(path.stem, header, list(_with_guards(cells)))


def _header(path: Path, block: dict[str, Any]) -> Header:
    missing = {"title", "minutes"} - set(block)
    unknown = set(block) - {"title", "minutes", "fast", "needs", "requires"}
    if missing or unknown:
        wrong = f"lacks {sorted(missing)}" if missing else f"has unknown {sorted(unknown)}"
        raise InvalidParameter(f"{path.name}: the labkit block of the header {wrong}")
    needs.known(block.get("needs", []))
    return Header(
        title=str(block["title"]),
        minutes=int(block["minutes"]),
        fast=int(block.get("fast", 0)),
        needs=tuple(block.get("needs", [])),
        requires=tuple(str(number) for number in block.get("requires", [])),
    )


def _tidy(cell: Cell) -> Cell:
    """Keep type, source and tags; a gated cell starts with the line that guards it."""
    source, names = cell.source.strip("\n"), needs.of_tags(tags(cell))
    needs.known(names + needs.of_tags(tags(cell), needs.RECORDED))
    metadata = {"tags": tags(cell)} if tags(cell) else {}
    if cell.cell_type == "markdown":
        return nbformat.v4.new_markdown_cell(source, metadata=metadata)
    if names and not source.startswith(needs.MAGIC):
        source = f"{needs.MAGIC} {' '.join(names)}\n{source}"
    return nbformat.v4.new_code_cell(source, metadata=metadata)


def _with_guards(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Behind the parameters cell comes one that checks them."""
    for cell in cells:
        yield cell
        if "parameters" in tags(cell):
            lines = [p.guard() for p in parameters.read(cell.source) if p.guard()]
            names = sorted({line.partition("(")[0] for line in lines})
            source = "\n".join([IMPORTS + ", ".join(names), "", *lines])
            if lines:
                yield nbformat.v4.new_code_cell(source, metadata={"tags": ["setup", "generated"]})


def _parts(cell: Cell) -> Iterator[tuple[str, str]]:
    """(kind, line) for each line: "both", "solution" or "attendee"; markers are left out."""
    inside = False
    for line in cell.source.splitlines():
        word = line.strip()
        if word in (BEGIN, END):
            if inside == (word == BEGIN):
                raise InvalidParameter(f"{word!r} is out of place in cell {cell.source[:60]!r}")
            inside = word == BEGIN
        elif ATTENDEE.match(line):
            yield "attendee", ATTENDEE.sub(r"\1", line)
        else:
            yield "solution" if inside else "both", line
    if inside:
        raise InvalidParameter(f"{BEGIN!r} has no end in cell {cell.source[:60]!r}")


def _reading(cell: Cell, leave_out: str) -> Cell:
    chosen = copy.deepcopy(cell)
    if cell.cell_type == "code":
        lines = [line for kind, line in _parts(cell) if kind != leave_out]
        chosen.source = "\n".join(lines).strip("\n")
    return chosen


def attendee(cells: Iterable[Cell]) -> list[Cell]:
    """The cells as the learner gets them."""
    return [_reading(cell, "solution") for cell in cells if "solution-only" not in tags(cell)]


def solved(cells: Iterable[Cell]) -> list[Cell]:
    """The cells with every solution in place."""
    return [_reading(cell, "attendee") for cell in cells]


def solution(cell: Cell) -> str:
    """The text between the markers of a cell, or nothing."""
    lines = [line for kind, line in _parts(cell) if kind == "solution"]
    return textwrap.dedent("\n".join(lines))


def solutions(source: Source) -> dict[str, str]:
    """exercise id -> what its cells hold between the markers, in order."""
    found: dict[str, list[str]] = {}
    for cell in source.code:
        name, text = exercise_of(cell), solution(cell)
        if text and name is not None:
            found.setdefault(name, []).append(text)
    return {name: "\n\n".join(texts) for name, texts in found.items()}


def secrets(source: Source) -> list[str]:
    """All that stands between markers, also in cells of no exercise, such as predictions."""
    return [text for text in map(solution, source.code) if text]


def parameter_list(source: Source) -> list[parameters.Parameter]:
    """What the cell tagged "parameters" declares; nothing when there is none."""
    cell = next((cell for cell in source.code if "parameters" in tags(cell)), None)
    return parameters.read(cell.source) if cell else []
