"""Run a notebook in a fresh kernel, and turn its outputs into what is stored and compared.

Every run gets its own learner's folder, so that no progress of an earlier run shows in it.
Stored outputs hold no widget views (their ids are random, and without a kernel they show nothing),
no tracebacks (they name the files of the machine they were made on) and no timings.
"""

import contextlib
import copy
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from labkit.errors import LabkitError
from labkit.lab import needs
from labkit.lab.notebooks.source import KERNELSPEC, Cell, tags

SEED = "1"
CELL_SECONDS = 120
START_SECONDS = 240  #: a kernel takes minutes to start on an emulated processor
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Notebook = Any  # an nbformat.NotebookNode
Progress = Callable[[int, int], None]  # cells done, cells in all


class NotebookFailed(LabkitError):
    """A cell raised, took too long, or the kernel died; the message names the cell."""


@contextlib.contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The variables of a compared run; its learner's folder is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="labkit-work-", ignore_cleanup_errors=True) as work:
        # ipykernel leaves file descriptors 1 and 2 alone when it believes that pytest runs it
        kept = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        yield {"LABKIT_SEED": SEED, **kept, "LABKIT_BATCH": "1", "LABKIT_WORK": work}


def notebook(cells: list[Cell], **facts: object) -> Notebook:
    """A notebook of `cells` with our metadata and no other."""
    metadata = {
        "kernelspec": dict(KERNELSPEC),
        "language_info": {"name": "python"},
        "labkit": facts,
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def execute(
    fresh: Notebook, directory: Path, progress: Progress = lambda done, of: None
) -> Notebook:
    """A copy of `fresh` with outputs and counts, run in `directory`; NotebookFailed if it fails."""
    run = copy.deepcopy(fresh)
    code = [cell["id"] for cell in run.cells if cell.cell_type == "code"]

    def done(cell: Cell, **_: object) -> None:
        if cell["id"] in code:
            progress(code.index(cell["id"]) + 1, len(code))

    client = NotebookClient(
        run,
        timeout=CELL_SECONDS,
        startup_timeout=START_SECONDS,
        kernel_name=KERNELSPEC["name"],
        record_timing=False,
        resources={"metadata": {"path": str(directory)}},
        on_cell_executed=done,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with environment() as variables:
        try:
            client.execute(env=variables)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise NotebookFailed(_failure(run, error)) from None
    return normalised(run)


def _failure(run: Notebook, error: Exception) -> str:
    """Which cell, what it raised, and its text."""
    ran = [cell for cell in run.cells if cell.get("execution_count")]
    bad = next((cell for cell in ran if _raised(cell)), ran[-1] if ran else run.cells[0])
    raised = _raised(bad)
    reason = f"{raised.ename}: {raised.evalue}" if raised else str(error).splitlines()[0]
    source = "\n".join(f"    {line}" for line in bad.source.splitlines())
    return f"cell {bad['id']}: {COLOUR.sub('', reason)}\n{source}"


def _raised(cell: Cell) -> Any:
    return next((o for o in cell.get("outputs", []) if o.output_type == "error"), None)


def normalised(run: Notebook) -> Notebook:
    """`run` as it is stored; cells whose needs are not met here lose what they printed."""
    run.metadata.pop("widgets", None)
    run.metadata["language_info"] = {"name": "python"}
    for cell in run.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
        cell.outputs = list(_joined(map(_output, cell.outputs)))
        if any(needs.lacking(needs.of_tags(tags(cell), p)) for p in (needs.TAG, needs.RECORDED)):
            cell.outputs, cell.execution_count = [], None
    return run


def _output(output: Any) -> Any:
    if output.output_type == "error":
        output.evalue = COLOUR.sub("", output.evalue)
        output.traceback = [f"{output.ename}: {output.evalue}"]
    if "data" in output:
        output.data.pop(WIDGET_VIEW, None)
    return output


def _joined(outputs: Iterator[Any]) -> Iterator[Any]:
    """Neighbouring pieces of one stream become one: how they were cut depends on the time."""
    last: Any = None
    for output in outputs:
        same = last is not None and output.output_type == last.output_type == "stream"
        if same and output.name == last.name:
            last.text += output.text
            continue
        if last is not None:
            yield last
        last = output
    if last is not None:
        yield last


def same_code(one: Notebook, other: Notebook) -> bool:
    """Do both have the same code cells, in the same order?"""

    def code(notebook: Notebook) -> list[tuple[str, list[str]]]:
        return [(c.source, tags(c)) for c in notebook.cells if c.cell_type == "code"]

    return code(one) == code(other)


def carry_over(fresh: Notebook, stored: Notebook) -> Notebook:
    """`fresh` with the outputs that `stored`, which has the same code, was saved with."""
    result = copy.deepcopy(fresh)
    pairs = zip(
        *([c for c in n.cells if c.cell_type == "code"] for n in (result, stored)), strict=True
    )
    for new, old in pairs:
        new.outputs, new.execution_count = old.outputs, old.execution_count
    return result


def keep_gated(executed: Notebook, stored: Notebook | None) -> Notebook:
    """Cells that this machine could not run keep the outputs of the machine that could."""
    before = {c.source: c for c in stored.cells if c.cell_type == "code"} if stored else {}
    for cell in executed.cells:
        old = before.get(cell.source)
        if cell.cell_type == "code" and cell.execution_count is None and old is not None:
            cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return executed
