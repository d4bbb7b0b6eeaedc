"""Work: a small program inside the machine that wants memory, CPU time or processes.

    eater = Work(world, "eater", "eat", 96, 1000)     # a starter, which waits
    group.add(eater.pid)                              # what it starts will be born in the group
    eater.start().wait()
    eater.killed                                      # "SIGKILL"

The starter is there first, so that it can be moved before it starts anything: a process that is
moved later leaves behind what it has used. The programs are those of labkit.lab.load_main, all of
them bounded in time. Here too: waiting for what one wants to see, instead of for a while.
"""

import os
import signal
from collections.abc import Callable

from labkit import cgroups
from labkit.cgroups import Cgroup
from labkit.cgroups.files import pauses
from labkit.errors import InvalidParameter, NotFound, Unavailable
from labkit.lab.child import Child
from labkit.lab.child_answer import readable
from labkit.lab.load_main import MIB as MIB
from labkit.lab.load_main import PROGRAMS
from labkit.lab.world import DISK, World
from labkit.linux import procfs
from labkit.linux.syscalls import pidfd_open

SECONDS = 300  #: that a program may run


class Work:
    """A starter in the machine and the program that it starts; the end of a `with` stops both.

    pid, program_pid: of the starter, and of the program when it has been started. group: where the
    starter is moved. A second Work of the same name in a world ends the first. start() after the
    end of the starter makes a new one, in `group`; where else the old one was moved is forgotten.
    """

    def __init__(
        self,
        world: World,
        name: str,
        program: str,
        *arguments: int,
        group: Cgroup | None = None,
        seconds: int = SECONDS,
    ) -> None:
        if program not in PROGRAMS:
            raise InvalidParameter(f"no program {program!r}, only {', '.join(PROGRAMS)}")
        self.name = name
        self.group = group
        self._world = world
        self._call = f"spawn(load_main.run, {program!r}, {seconds}, {list(arguments)!r})"
        self._starter = self._make_starter()
        self._inside = self._pidfd = -1
        self.program_pid = -1
        self._ended: int | None = None
        world.undo.callback(self._forget)

    def __repr__(self) -> str:
        return f"<Work {self.name}: {self.state}>"

    def _make_starter(self) -> Child:
        """A child that knows the programs and nothing else, in the group."""
        starter = self._world.child(self.name)
        if starter.eval("'load_main' in globals()"):
            starter.stop()
            starter = self._world.child(self.name)
        starter.run("from labkit.lab import load_main")
        if self.group:
            self.group.add(starter.pid)
        return starter

    @property
    def pid(self) -> int:
        return self._starter.pid

    def start(self) -> "Work":
        """Fork the program; BlockingIOError when the group may have no more processes.

        A starter that is gone is made anew.
        """
        self._forget()
        if not self._starter.alive:
            self._starter = self._make_starter()
        self._ended = None
        self._inside = self._starter.eval(self._call)
        numbers = procfs.children(self.pid)
        self.program_pid = next(n for n in numbers if procfs.nspid(n)[-1] == self._inside)
        self._pidfd = pidfd_open(self.program_pid)
        return self

    @property
    def running(self) -> bool:
        """Has the program been started, and not ended? What it forked does not count."""
        return self._pidfd >= 0 and not readable(self._pidfd, 0)

    def wait(self, timeout: float = 20) -> "Work":
        """Until the program has ended; TimeoutError."""
        if self._pidfd >= 0 and not readable(self._pidfd, timeout):
            raise TimeoutError(f"{self.name} still runs after {timeout:g} s")
        return self

    @property
    def state(self) -> str:
        """waiting, running, ended, or killed by a signal."""
        if self._pidfd < 0:
            return "waiting" if self._starter.alive else "stopped"
        if self.running:
            return "running"
        return f"killed by {self.killed}" if self.killed else "ended"

    @property
    def killed(self) -> str | None:
        """The signal that ended the program; None while it runs, and when it ended by itself."""
        if self._pidfd < 0 or self.running:
            return None
        status = self._status()
        return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None

    def _status(self) -> int:
        """Its wait status, which the starter keeps; SIGKILL if the starter was ended with it."""
        if self._ended is None:
            try:
                self._ended = self._starter.eval(f"os.waitpid({self._inside}, 0)[1]")
            except Unavailable:
                self._ended = signal.SIGKILL
        return self._ended or 0

    def stop(self) -> None:
        """End it, the starter, and all that they started; a second time is no error."""
        self._starter.stop()
        self._forget()

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _forget(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def until(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Look again and again whether it holds, for so long; False if it never did."""
    return any(condition() for _ in pauses(seconds))


def group_of(pid: int, controller: str = "memory") -> Cgroup:
    """The group in which this controller counts `pid`; NotFound when that is the root."""
    paths = procfs.cgroups(pid)
    name = (paths.get(controller) or paths.get("") or "/").strip("/")
    if not name:
        raise NotFound(f"process {pid} is in no group for {controller}")
    return cgroups.open(name)


def write_times(writer: Child, mib: int) -> tuple[float, float]:
    """Seconds that a child needs to write so many MiB to the disk: directly, and buffered.

    The second is the best of three, because it is short enough to be doubled by anything.
    """
    writer.run("from labkit.lab.load_main import write_disk")

    def once(*, direct: bool) -> float:
        return float(writer.eval(f"write_disk('{DISK}/written', {mib}, direct={direct})"))

    return once(direct=True), min(once(direct=False) for _ in range(3))
