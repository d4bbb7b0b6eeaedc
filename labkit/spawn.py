"""A function as a process in new namespaces, and the end of that process.

Here: clone3(2) with namespaces and a pidfd, the wait for the id maps, kill and reap. Not here: what
the function does inside (mounts, rootfs, cgroups) and programs, which it may exec.

unshare(2) would move the caller too, and put only its *children* into the pid and time namespace;
clone3 makes the child, its namespaces and a descriptor for it in one step, and the caller stays.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

from labkit.errors import Conflict
from labkit.linux import procfs, syscalls
from labkit.linux.constants import CloneFlag, Prctl
from labkit.namespaces import IdMap, flags, write_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self


class Child:
    """A process of ours: `with` kills it at the end, if it still lives, and reaps it.

    pid is its number in our pid namespace; pidfd stays its own even when the number is reused.
    """

    __slots__ = ("_code", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it; TimeoutError after `timeout` seconds.

        Can be asked again and again, also after the end of `with`.
        """
        if self._code is None:
            if not select.select([self.pidfd], [], [], timeout)[0]:
                raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; nothing happens if it has ended. A first process, pid 1 in its own
        namespace, gets only signals that it handles, and SIGKILL: pid_namespaces(7)."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                syscalls.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Kill, reap, and let the pidfd go; a second call does nothing.

        The first process of a pid namespace ends only when all its members have been reaped, also
        those that joined: whoever is their parent must do that first, pid_namespaces(7).
        """
        if self.pidfd < 0:
            return
        self.kill()
        self.wait()
        os.close(self.pidfd)
        self.pidfd = -1

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def spawn(
    kinds: "Iterable[str]",
    function: "Callable[[], int | None]",
    *,
    uid_maps: "Sequence[IdMap]" = (),
    gid_maps: "Sequence[IdMap]" = (),
    setgroups: bool = False,
) -> Child:
    """Run `function` in a child in new namespaces of these kinds; its int is the exit code.

    With maps ("user" among the kinds) the function starts after they are written. An exception in
    it is printed and gives exit code 1. The child dies with the caller, as long as its uid stays
    the same (PR_SET_PDEATHSIG). Conflict in a threaded process: fork copies one thread, and the
    locks that the others held.
    """
    if (threads := int(procfs.status()["Threads"])) > 1:
        raise Conflict(f"this process has {threads} threads: only one with a single thread forks")
    pidfd = ctypes.c_int(-1)
    wanted = flags(kinds) | CloneFlag.PIDFD
    args = syscalls.CloneArgs(
        flags=wanted, pidfd=ctypes.addressof(pidfd), exit_signal=signal.SIGCHLD
    )
    ready, go = os.pipe()
    caller = syscalls.pidfd_open(os.getpid())
    try:
        _flush()  # else both processes would print what is buffered now
        if (pid := syscalls.clone3(args)) == 0:
            os.close(go)
            _child(caller, ready, function)
        child = Child(pid, pidfd.value)
        try:
            if uid_maps or gid_maps:
                write_maps(pid, uid_maps, gid_maps, setgroups=setgroups)
            os.write(go, b"g")
        except BaseException:
            child.close()
            raise
        return child
    finally:
        for fd in (ready, go, caller):
            os.close(fd)


def _child(caller: int, ready: int, function: "Callable[[], int | None]") -> None:
    """What the new process does: wait for the word, run, leave without our parent's clean-up."""
    code = 1
    try:
        syscalls.prctl(Prctl.SET_PDEATHSIG, signal.SIGKILL)
        told = os.read(ready, 1)  # nothing: the caller gave up, or is dead
        # it may have told us and died before the prctl; getppid(2) is 0 in a new pid namespace
        if told and not select.select([caller], [], [], 0)[0]:
            os.close(ready)
            os.close(caller)
            code = function() or 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(bool(exit.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed stream has nothing to say
            stream.flush()
