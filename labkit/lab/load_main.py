"""Programs that want something: memory, CPU time, processes. They run inside a World.

Each is bounded: run() gives it `seconds`, after which the kernel ends it with SIGALRM, alarm(2).
Not here: starting one and looking at it (labkit.lab.workloads). Like all that a Child imports, this
is the standard library only.
"""

import contextlib
import ctypes
import math
import mmap
import os
import signal
import time

from labkit import cgroups
from labkit.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MIB = 1 << 20
LONG = 300  #: seconds after which a forked process ends in any case
BREATH = 12  #: steps in which a breather fills what it may have


def run(program: str, seconds: int, arguments: "list[int]") -> None:
    """Be the program of that name for at most so long."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    PROGRAMS[program](*arguments)


def eat(mib: int, milliseconds: int) -> None:
    """Take `mib` MiB in forty steps over that time, then keep them."""
    held = _grow(mib, milliseconds)
    signal.pause()
    held.clear()


def leak(mib: int, milliseconds: int) -> None:
    """The same, but end then, and so give all back."""
    _grow(mib, milliseconds)


def swarm(many: int, mib: int) -> None:
    """So many eaters, which take `mib` MiB together."""
    for _ in range(many):
        if os.fork() == 0:
            signal.alarm(LONG)  # the parent's alarm is not inherited
            eat(mib // many, 800)
    signal.pause()


def breathe() -> "NoReturn":
    """Fill two thirds of what its group may have, give all back, and again.

    It asks for its limit at each step, as the runtimes of Java and Go do when they start.
    """
    held: list[bytearray] = []
    while True:
        top = int(memory_limit() * 0.67)
        if sum(map(len, held)) + top // BREATH > top:
            held.clear()
            _give_back()
        held.append(bytearray(top // BREATH))
        time.sleep(0.08)


def burn() -> "NoReturn":
    """Use all the CPU time that it gets."""
    while True:
        pass


def bomb(most: int) -> "NoReturn":
    """Everyone forks, again and again; there are `most` births at the most."""
    births, tickets = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.write(tickets, bytes(most))
    while True:
        with contextlib.suppress(BlockingIOError):  # no ticket, or the kernel refused
            os.read(births, 1)
            _fork_or_return_ticket(tickets)
        time.sleep(0.04)


def _fork_or_return_ticket(tickets: int) -> None:
    try:
        if os.fork() == 0:
            signal.alarm(LONG)
    except BlockingIOError:
        os.write(tickets, b"x")
        raise


def relay(runners: int, seconds: int) -> None:
    """So many lines of descent: each process forks its successor after 30 ms, and ends."""
    for _ in range(runners):
        if os.fork() == 0:
            _run_relay(time.monotonic() + seconds)
    signal.pause()


def _run_relay(end: float) -> "NoReturn":
    while time.monotonic() < end:
        time.sleep(0.03)
        with contextlib.suppress(BlockingIOError):
            if os.fork():
                break
    os._exit(0)


def sleep() -> None:
    """Want nothing."""
    signal.pause()


def write_disk(path: str, mib: int, *, direct: bool) -> float:
    """Seconds in which so many MiB are written, past the page cache (O_DIRECT) or into it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | (os.O_DIRECT if direct else 0)
    with mmap.mmap(-1, MIB) as aligned:
        fd = os.open(path, flags, 0o600)
        start = time.monotonic()
        for _ in range(mib):
            os.write(fd, aligned)
        passed = time.monotonic() - start
        os.close(fd)
    return passed


def _grow(mib: int, milliseconds: int) -> list[bytearray]:
    held = []
    for _ in range(40):
        held.append(bytearray(max(1, mib * MIB // 40)))  # filled with zeros, so really taken
        time.sleep(milliseconds / 40_000)
    return held


def memory_limit() -> float:
    """Bytes that the caller's own group may have; 64 MiB where nothing limits it."""
    paths = procfs.cgroups()
    name = (paths.get("memory") or paths.get("") or "/").strip("/")
    limit = cgroups.open(name).limits().memory_max if name else None
    return 64 * MIB if limit in (None, math.inf) else float(limit or 0)


def _give_back() -> None:
    """free(3) may keep small pieces: malloc_trim(3), where the C library has it."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


PROGRAMS: "dict[str, Callable[..., None]]" = {
    "bomb": bomb,
    "breathe": breathe,
    "burn": burn,
    "eat": eat,
    "leak": leak,
    "relay": relay,
    "sleep": sleep,
    "swarm": swarm,
}
