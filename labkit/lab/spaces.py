"""Looking at namespaces from outside: whose /proc lists whom, what lies above a root, who is in.

For checks and cards of notebooks; everything is read from the notebook kernel's own /proc, so the
process that is looked at cannot lie. Not here: aliases for inodes (labkit.lab.names).
"""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from labkit.lab.child import Child
from labkit.lab.exercise import NotYet
from labkit.linux import procfs

T = TypeVar("T")

#: device and inode number of a directory: which one it is, whatever it is called
Place = tuple[int, int]

#: what a child runs to get mounts of its own, shared as systemd has them, and somebody beside it
_APART = """
unshare(CLONE_NEWNS)
mount("none", "/", "none", MS_REC | MS_SHARED)
bystander = spawn(signal.pause)
"""


# ---- waiting ------------------------------------------------------------------


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Look until it holds, for at most `seconds`; does it hold?"""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds


def patiently(look: Callable[[], T], seconds: float = 2.0) -> T:
    """What `look` returns; while it raises NotYet it is asked again, for at most `seconds`.

    For what a process that has just been started is still about to do.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return look()
        except NotYet:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


# ---- processes ------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """Live children of `pid`, and theirs."""
    found = []
    with contextlib.suppress(ProcessLookupError):
        for child in procfs.children(pid):
            found += [child, *descendants(child)]
    return [one for one in found if procfs.alive(one)]


def youngest(child: Child) -> int:
    """The newest process that a child of the world has started, as we number it; 0 for none."""
    return max(procfs.children(child.pid), key=procfs.start_time, default=0)


def members(pid: int) -> list[int]:
    """All that are in the pid namespace of `pid`, or in one below it."""
    depth, inode = len(procfs.nspid(pid)), procfs.ns_inode(pid, "pid")
    return [one for one in _live() if inode in _pid_namespaces(one, depth)]


def _live() -> Iterator[int]:
    for pid in procfs.pids():
        if procfs.alive(pid):
            yield pid


def _pid_namespaces(pid: int, depth: int) -> list[int]:
    """The pid namespace of a process, and of its ancestors that are as deep as `depth`."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        while pid and len(procfs.nspid(pid)) >= depth:
            found.append(procfs.ns_inode(pid, "pid"))
            pid = int(procfs.status(pid)["PPid"])
    return found


def listed(pid: int) -> int:
    """How many processes the /proc lists that `pid` finds at its own root."""
    try:
        return sum(name.isdigit() for name in os.listdir(f"/proc/{pid}/root/proc"))
    except FileNotFoundError:
        return 0


def zombies(pid: int) -> int:
    """How many children of `pid` have ended and were not waited for, wait(2)."""
    found = 0
    for one in procfs.pids():
        with contextlib.suppress(ProcessLookupError):
            status = procfs.status(one)
            found += status["PPid"] == str(pid) and status["State"].startswith("Z")
    return found


def number_at(observer: int, pid: int) -> int:
    """The number of process `pid` in the pid namespace of process `observer`, which is above it."""
    return procfs.nspid(pid)[len(procfs.nspid(observer)) - 1]


# ---- roots -----------------------------------------------------------------------


def place(pid: int, link: str = "root") -> Place:
    """Which directory is the root of `pid`, or its cwd?"""
    found = os.stat(f"/proc/{pid}/{link}")
    return found.st_dev, found.st_ino


def above(path: str) -> list[Place]:
    """The directory and all that lie above it, upwards, to the top of its mount namespace.

    chroot(2) changes where one process stops going up, not what is there: we go on.
    """
    found: list[Place] = []
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        while not found or _which(fd) != found[-1]:
            found.append(_which(fd))
            up = os.open("..", os.O_PATH | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = up
    finally:
        os.close(fd)
    return found


def _which(fd: int) -> Place:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def is_below(pid: int, link: str, top: Place) -> bool:
    """Is the root (or cwd, or fd/3) of `pid` the directory `top`, or somewhere in it?"""
    return top in above(f"/proc/{pid}/{link}")


def directories(pid: int) -> list[str]:
    """Its descriptors that are open directories: "fd/3", ..."""
    found = []
    for name in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.stat(f"/proc/{pid}/fd/{name}").st_mode):
                found.append(f"fd/{name}")
    return found


# ---- a stage -----------------------------------------------------------------------


def set_apart(child: Child) -> int:
    """Give a child mounts of its own, shared as systemd has them; the pid of a bystander in them.

    What is done to those mounts by mistake then hurts the bystander, and not the whole machine.
    """
    child.run(_APART)
    return youngest(child)
