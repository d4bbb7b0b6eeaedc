"""Which cells must run before some others can: found by the names that they share.

Setup cells always run. Of the target's own section all cells before it run, and of earlier sections
those that mention a name, or a child of the world, that is needed further down. It may find too
many, never too few, as long as cells meet through names. An exercise needs its own cells only; it
runs for others if they use a name that it binds.
"""

import ast
import re
from collections.abc import Iterable, Sequence

from labkit.lab.notebooks.source import Cell, exercise_of, tags

GUARDS = ("%%needs", "%%fails")
CHILD = re.compile(r"""^%%child\s+(\w+)|\bchild\(\s*["'](\w+)["']""", re.MULTILINE)
HEADING = re.compile(r"^## ", re.MULTILINE)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ListComp, ast.SetComp)
SCOPES += (ast.DictComp, ast.GeneratorExp)


def is_section(cell: Cell) -> bool:
    return cell.cell_type == "markdown" and bool(HEADING.search(cell.source))


def is_setup(cell: Cell) -> bool:
    return bool({"setup", "parameters"} & set(tags(cell)))


def needed(cells: Sequence[Cell], targets: Iterable[int]) -> list[int]:
    """The places of all cells that must run, the targets' own included, in order."""
    bound = {name for cell in cells if not is_setup(cell) for name in binds(cell)}
    found = {place for place, cell in enumerate(cells) if is_setup(cell)}
    for target in targets:
        found |= before(cells, target, bound)
    return sorted(found)


def before(cells: Sequence[Cell], target: int, bound: set[str]) -> set[int]:
    """The target and what it needs, without the setup cells."""
    exercise = exercise_of(cells[target])
    if exercise:
        return {p for p in range(target + 1) if exercise_of(cells[p]) == exercise}
    heads = [place for place in range(target) if is_section(cells[place])]
    start = heads[-1] if heads else 0
    found, names = set(), set()
    for place in range(target, -1, -1):
        cell = cells[place]
        if place in found or is_setup(cell):
            continue
        if exercise := exercise_of(cell):
            mine = [p for p in range(place + 1) if exercise_of(cells[p]) == exercise]
            if binds(cell) & names:
                found |= set(mine)
            continue
        mentioned = mentions(cell) & bound | children(cell)
        if place >= start or mentioned & names:
            found.add(place)
            names |= mentioned
    return found


def python(cell: Cell) -> ast.Module:
    """The cell's own Python: nothing for prose, and for what runs in a child."""
    if cell.cell_type != "code":
        return ast.Module([], [])
    lines = [line for line in cell.source.splitlines() if not line.startswith(GUARDS)]
    if lines and lines[0].startswith("%%"):
        return ast.Module([], [])
    return ast.parse("\n".join(line for line in lines if not line.startswith("%")))


def mentions(cell: Cell) -> set[str]:
    return {node.id for node in ast.walk(python(cell)) if isinstance(node, ast.Name)} | binds(cell)


def children(cell: Cell) -> set[str]:
    """Children of the world by name, which is also what their variable is usually called."""
    if cell.cell_type != "code":
        return set()
    names = [one or other for one, other in CHILD.findall(cell.source)]
    return {*names, *(f"child {name}" for name in names)}


def binds(cell: Cell) -> set[str]:
    """Names that the cell gives a value at its top level."""
    found, open_nodes = set(), list(python(cell).body)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if not isinstance(node, SCOPES):
            open_nodes += ast.iter_child_nodes(node)
    return found
