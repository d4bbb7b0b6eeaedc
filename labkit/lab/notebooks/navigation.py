"""The first and the last cell of a notebook, written from the headers of all sources."""

import copy
from collections.abc import Sequence

import nbformat

from labkit.lab.notebooks.source import Cell, Source, tags

FAST = " · *fast track*"


def framed(source: Source, neighbours: Sequence[Source]) -> list[Cell]:
    """All cells of `source`, with head and foot and ids; `neighbours` are all sources in order."""
    place = [other.number for other in neighbours].index(source.number)
    before = neighbours[place - 1] if place else None
    after = neighbours[place + 1] if place + 1 < len(neighbours) else None
    cells = [
        head(source, before, after, neighbours),
        *copy.deepcopy(source.cells),
        foot(before, after),
    ]
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"{source.number}-{number:03}"
        _mark_fast(cell)
    return cells


def head(
    source: Source, before: Source | None, after: Source | None, everything: Sequence[Source]
) -> Cell:
    """Title, links, minutes, needs."""
    header = source.header
    required = [other for other in everything if other.number in header.requires]
    facts = [f"**{header.minutes} minutes**"]
    if header.fast:
        where = "the first cells, and the sections marked *fast track*"
        facts.append(f"fast track {header.fast} minutes ({where})")
    facts.append("needs " + (", ".join(header.needs) or "nothing special"))
    if required:
        facts.append("after " + ", ".join(link(other, short=True) for other in required))
    lines = [f"# {source.number} · {header.title}", " · ".join(facts), links(before, after)]
    return nbformat.v4.new_markdown_cell("\n\n".join(filter(None, lines)))


def foot(before: Source | None, after: Source | None) -> Cell:
    """Where to go from here."""
    last = "You have reached the last notebook of this kit so far."
    text = f"---\n\n{links(before, after)}" if after else f"---\n\n{last}\n\n{links(before, after)}"
    return nbformat.v4.new_markdown_cell(text.strip())


def links(before: Source | None, after: Source | None) -> str:
    """`previous | next`, each only if there is one."""
    parts = [f"← {link(before)}"] if before else []
    return " | ".join([*parts, f"{link(after)} →"] if after else parts)


def link(source: Source, *, short: bool = False) -> str:
    text = source.number if short else f"{source.number} {source.header.title}"
    return f"[{text}]({source.stem}.ipynb)"


def _mark_fast(cell: Cell) -> None:
    """A heading of the fast track says so in words."""
    if cell.cell_type == "markdown" and "fast" in tags(cell):
        first, newline, rest = cell.source.partition("\n")
        if first.startswith("#"):
            cell.source = first + FAST + newline + rest
