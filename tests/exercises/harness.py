"""A seat: an IPython shell in a process of its own, in which exercises are tried one by one.

Run as a program it is the seat; imported it is the other end. Between them go JSON lines: a list
of cells there, what they printed and raised back. A shell starts faster than a Jupyter kernel and
has the same magics. What an exercise prints is judged by the tests, not here.
"""

import json
import os
import re
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from labkit.lab import record
from labkit.lab.notebooks import source
from labkit.lab.notebooks.execute import CELL_SECONDS
from labkit.lab.notebooks.source import Cell, Source, tags

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Attempt:
    """output is all text, tracebacks included; raised the names of exceptions; records lab's."""

    output: str
    raised: list[str]
    records: dict[str, object]

    def passed(self, exercise: str) -> bool:
        return f"[passed] {exercise}" in self.output


class SeatLost(Exception):
    """The process died or took longer than a cell may."""


class Seat:
    """One notebook's process; its working directory is that of the notebooks."""

    def __init__(self, directory: Path, variables: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            env=variables,
            text=True,
        )

    def run(self, cells: list[str]) -> Attempt:
        """Run cells one after the other; an exception ends a cell, not the attempt."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(cells) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise SeatLost("the process of this notebook has ended") from None
        if not select.select([self.process.stdout], [], [], CELL_SECONDS)[0]:
            self.close()
            raise SeatLost(f"no answer within {CELL_SECONDS} seconds from {cells[-1]!r}")
        line = self.process.stdout.readline()
        if not line:
            raise SeatLost(f"the process died, status {self.process.wait()}, in {cells!r}")
        return Attempt(**json.loads(line))

    def close(self) -> None:
        """End the process, kindly first: its exit handlers clean up."""
        if self.process.stdin and self.process.stdout:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()


@dataclass(frozen=True)
class Trial:
    """The cells of one exercise, start to check, as shipped and solved."""

    exercise: str
    shipped: list[Cell]
    solved: list[Cell]

    def as_shipped(self) -> list[str]:
        return [cell.source for cell in self.shipped]

    def as_solved(self) -> list[str]:
        return [cell.source for cell in self.solved]

    def with_answer(self, code: str) -> list[str]:
        """`code` in the place of the learner's first own cell, the other own cells left out."""
        cells, placed = [], False
        for cell, solved in zip(self.shipped, self._solved_partners(), strict=True):
            if cell.source == solved.source:
                cells.append(cell.source)
            elif not placed:
                cells.append(code)
                placed = True
        return cells

    def _solved_partners(self) -> list[Cell]:
        return [cell for cell in self.solved if "solution-only" not in tags(cell)]


def setup_cells(one: Source) -> list[str]:
    """What must run before any exercise: the parameters and all cells tagged setup."""
    cells = [c for c in source.solved(one.cells) if {"setup", "parameters"} & set(tags(c))]
    return [cell.source for cell in cells if cell.cell_type == "code"]


def trials(one: Source) -> dict[str, Trial]:
    """exercise id -> its cells."""
    code = one.code
    found = {}
    for name in source.solutions(one):
        cells = [cell for cell in code if source.exercise_of(cell) == name]
        found[name] = Trial(name, source.attendee(cells), source.solved(cells))
    return found


def serve() -> None:
    """The seat's own loop. Its wire is kept away from what the cells start."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)
    sys.path[0] = ""  # as in a Jupyter kernel: the working directory, not this file's
    shell = InteractiveShell.instance()
    for line in requests:
        raised = []
        with capture_output() as captured:
            for cell in json.loads(line):
                result = shell.run_cell(cell)
                error = result.error_before_exec or result.error_in_exec
                raised += [type(error).__name__] if error else []
        shown = [rich.data for rich in captured.outputs]
        text = [captured.stdout, captured.stderr, *(data.get("text/plain", "") for data in shown)]
        entries = [data[record.MIME] for data in shown if record.MIME in data]
        reply = {
            "output": COLOUR.sub("", "\n".join(text)),
            "raised": raised,
            "records": {entry["name"]: entry["value"] for entry in entries},
        }
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    serve()
