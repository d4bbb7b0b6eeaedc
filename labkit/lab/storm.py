"""A storm of orphans: what a process 1 has to cope with. Runs in a child of a World.

A process whose parent ends is an orphan: it becomes a child of process 1 of its pid namespace,
which must wait(2) for it, or it stays as a zombie for ever. pid_namespaces(7)
"""

import os
import signal
import time

from labkit.spawn import Child, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def first_process(init: "Callable[[int], int | None]", orphans: int, code: int) -> Child:
    """Process 1 of a new pid namespace, in which a program has just made so many orphans.

    init(pid) runs as process 1; pid is the program, which goes on and ends with exit code `code` at
    SIGTERM. Returns when every orphan has ended, or when process 1 has.
    """
    over, told = os.pipe()
    try:
        process = spawn(["pid"], lambda: _first(init, told, orphans, code))
        os.close(told)
        os.read(over, 1)  # one byte from the program, or the end of all that could write it
    finally:
        os.close(over)
    return process


def _first(init: "Callable[[int], int | None]", told: int, orphans: int, code: int) -> int | None:
    if (pid := os.fork()) == 0:
        _program(told, orphans, code)
    os.close(told)
    return init(pid)


def _program(told: int, orphans: int, code: int) -> "NoReturn":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))
    gone, alive = os.pipe()
    for _ in range(orphans):
        if (between := os.fork()) == 0:
            if os.fork() == 0:
                _orphan()
            os._exit(0)
        os.waitpid(between, 0)
    os.close(alive)
    os.read(gone, 1)  # nothing, as soon as the last orphan has ended
    os.write(told, b"!")
    while True:
        signal.pause()


def _orphan() -> "NoReturn":
    while os.getppid() != 1:
        time.sleep(0.001)
    os._exit(0)


def careless(pid: int) -> None:
    """An init that never waits for anybody."""
    while True:
        signal.pause()
