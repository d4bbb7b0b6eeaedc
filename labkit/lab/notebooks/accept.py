"""Compare new outputs with the stored ones, cell by cell, as text that a person can read."""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from labkit.lab.notebooks.execute import Notebook

#: nbval does not compare pictures either: a chart's caption says what is in it
PICTURES = ("image/png", "image/jpeg")


def as_text(outputs: list[Any]) -> list[str]:
    """The lines of a cell's outputs, pictures left out."""
    parts = []
    for output in outputs:
        if output.output_type == "stream":
            parts.append(f"[{output.name}]\n{output.text}")
        elif output.output_type == "error":
            parts.append(f"[error]\n{output.ename}: {output.evalue}")
        else:
            parts += [f"[{mime}]\n{_plain(data)}" for mime, data in sorted(output.data.items())]
    return "\n".join(parts).splitlines()


def _plain(data: object) -> str:
    return data if isinstance(data, str) else json.dumps(data, indent=1, sort_keys=True)


def _compared(cell: Any) -> list[str]:
    kept = [o for o in cell.outputs if o.output_type in ("stream", "error")]
    rich = [o for o in cell.outputs if o.output_type not in ("stream", "error")]
    slim = [
        type(o)({**o, "data": {m: d for m, d in o.data.items() if m not in PICTURES}}) for o in rich
    ]
    return as_text(kept + slim)


def differences(stored: Notebook | None, new: Notebook) -> Iterator[str]:
    """Unified differences of the outputs, one text per cell that changed."""
    old = {cell["id"]: cell for cell in stored.cells} if stored else {}
    for cell in new.cells:
        if cell.cell_type != "code" or cell.execution_count is None:
            continue
        before = old.get(cell["id"])
        left = _compared(before) if before and before.cell_type == "code" else []
        right = _compared(cell)
        if left != right:
            name = cell["id"]
            lines = difflib.unified_diff(left, right, f"{name} stored", f"{name} new", lineterm="")
            yield "\n".join(lines)


def keep_pictures(stored: Notebook | None, new: Notebook) -> Notebook:
    """A cell whose text is as before keeps its stored outputs: pictures differ by a few bytes."""
    old = {cell["id"]: cell for cell in stored.cells} if stored else {}
    for cell in new.cells:
        before = old.get(cell["id"])
        if cell.cell_type != "code" or not before or before.cell_type != "code":
            continue
        if before.source == cell.source and _compared(before) == _compared(cell):
            cell.outputs = before.outputs
    return new
