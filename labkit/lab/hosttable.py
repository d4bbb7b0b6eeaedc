"""The host's process table as a dictionary: what `ps` shows, and the numbers inside containers too.

    table()[pid].nspid        [4711, 1]: 4711 for the host, 1 in the innermost pid namespace

One look at /proc; a process that ends meanwhile is left out. Fields as in
proc(5).
"""

import contextlib
from dataclasses import dataclass

from labkit.linux import procfs


@dataclass(frozen=True)
class Process:
    """One line of the table; pid and parent are the host's numbers."""

    pid: int
    parent: int
    nspid: list[int]  #: its number in each pid namespace that it is in, from ours inwards
    command: str  #: with arguments; a kernel thread has none, so its name in brackets
    environ: dict[str, str]  #: as it was when the program started


def look(pid: int) -> Process:
    """The line of one process; ProcessLookupError when it is gone."""
    status = procfs.status(pid)
    words = procfs.read(pid, "cmdline").rstrip("\0").split("\0")
    return Process(
        pid,
        parent=int(status["PPid"]),
        nspid=[int(number) for number in status["NSpid"].split()],
        command=" ".join(words) or f"[{status['Name']}]",
        environ=_environ(pid),
    )


def table() -> dict[int, Process]:
    """Every process that this /proc lists, by the host's pid."""
    found = {}
    for pid in procfs.pids():
        with contextlib.suppress(ProcessLookupError):
            found[pid] = look(pid)
    return found


def _environ(pid: int) -> dict[str, str]:
    """Empty where we may not look, and for a kernel thread or a zombie, which have no memory."""
    try:
        entries = procfs.read(pid, "environ").split("\0")
    except (PermissionError, ProcessLookupError):
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
