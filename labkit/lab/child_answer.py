"""What comes back from a child: its output, and its exception as one of ours.

Not here: asking (labkit.lab.child), and how the child describes an exception
(labkit.lab.child_main.describe).
"""

import builtins
import contextlib
import math
import os
import select
import time
from typing import Any

from labkit.errors import LabkitError
from labkit.lab import child_main

KEEP = 1 << 20  #: bytes of output that one run may show


class Output(str):
    """What a run has written. As the last line of a cell it shows itself, as print would."""

    def _ipython_display_(self) -> None:
        if self:
            print(self, end="" if self.endswith("\n") else "\n")


class ChildError(LabkitError):
    """An exception of a child that cannot be made here: its type exists only there, or wants more
    than a message."""


class ChildSyntaxError(SyntaxError):
    """What was sent is not Python. A class of its own, since IPython shows a SyntaxError its way,
    with frames of the notebook kernel and without asking it for lines."""


def readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Collector:
    """Bytes of the output pipe; beyond KEEP they are read, so that nobody blocks, and dropped."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.kept = bytearray()
        self.dropped = 0

    def read(self) -> bool:
        """One read; False when every writer is gone."""
        try:
            part = os.read(self.fd, 65536)
        except BlockingIOError:
            return True
        room = max(0, KEEP - len(self.kept))
        self.kept += part[:room]
        self.dropped += len(part[room:])
        return bool(part)

    def until(self, other: int, seconds: float = math.inf) -> bool:
        """Read until the descriptor `other` is readable; False when it was not in that time."""
        poll = select.poll()
        poll.register(other, select.POLLIN)
        poll.register(self.fd, select.POLLIN)
        deadline = time.monotonic() + seconds
        while True:
            left = min(deadline - time.monotonic(), 3600)
            ready = dict(poll.poll(max(0, left) * 1000))
            if self.fd in ready and not self.read():
                poll.unregister(self.fd)
            if other in ready:
                return True
            if left <= 0:
                return False

    def drain(self) -> None:
        """What is there now; a writer that never stops cannot hold us."""
        deadline = time.monotonic() + 1
        while readable(self.fd, 0) and time.monotonic() < deadline and self.read():
            pass

    def text(self) -> Output:
        text = self.kept.decode(errors="replace")
        return Output(text + f"\n[{self.dropped} more bytes]\n" if self.dropped else text)


def rebuild(described: dict[str, Any], name: str) -> BaseException:
    """The exception that child_main.describe describes, as the same type where it exists here."""
    kind = described["type"]
    found = vars(builtins).get(kind) or child_main.KIT_ERRORS.get(kind)
    if isinstance(found, type) and issubclass(found, SyntaxError):
        found = ChildSyntaxError
    error: BaseException = ChildError(f"{kind}: {described['message']}")
    if isinstance(found, type) and issubclass(found, BaseException):
        with contextlib.suppress(TypeError):  # one that wants other arguments
            error = found(*described.get("arguments", [described["message"]]))
    _shorten(error, described, name)
    return error


def _shorten(error: BaseException, described: dict[str, Any], name: str) -> None:
    """IPython shows what _render_traceback_ returns; frames of the notebook kernel are no news."""
    where = [f"  child {name}, {line}" for line in described["lines"]]
    lines = [*where, f"{described['type']}: {described['message']}"]
    for line in where:
        error.add_note(line.strip())
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
