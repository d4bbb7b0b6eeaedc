"""What the exercises of notebook 01 work on: a container's family, and one that counts its pids."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TypeVar

from labkit.errors import Unavailable
from labkit.lab.child import Child
from labkit.lab.child_answer import readable
from labkit.lab.sandbox import Sandbox
from labkit.linux import procfs
from labkit.linux.syscalls import pidfd_open

T = TypeVar("T")

#: a child, and a grandchild in a session of its own; all of them wait
FAMILY = """
def child():
    spawn(grandchild)
    signal.pause()

def grandchild():
    os.setsid()
    signal.pause()

spawn(child)
signal.pause()
"""
#: at each SIGUSR1 it forks, and says which number the new process had
COUNTER = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
while signal.sigwait([signal.SIGUSR1]):
    number = spawn(int)
    os.waitpid(number, 0)
    print(number, flush=True)
"""


class Family:
    """A container with child and grandchild, one that joined it, and a neighbour on the host."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as failed:
            visitor = failed.enter_context(Child.start("visitor"))
            neighbour = failed.enter_context(Child.start("neighbour"))
            self.box = failed.enter_context(Sandbox(FAMILY))
            # the first process waits until the last member is buried: by the visitor, which lives
            # longer and does it without being asked, pid_namespaces(7), sigaction(2)
            visitor.run(
                "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
                f"setns(os.open('/proc/{self.box.pid}/ns/pid', os.O_RDONLY), CLONE_NEWPID)\n"
                "spawn(signal.pause)"
            )
            child = first_child(self.box.pid)
            self.pids = {
                "child": child,
                "grandchild": first_child(child),
                "joined": first_child(visitor.pid),
                "neighbour": neighbour.pid,
            }
            self._pidfds = {}
            for name, pid in self.pids.items():
                self._pidfds[name] = pidfd_open(pid)
                failed.callback(os.close, self._pidfds[name])
            self._undo = failed.pop_all()

    def dead(self, name: str) -> bool:
        return readable(self._pidfds[name], 0)

    def ended(self) -> bool:
        """Is the container gone? Its first process goes only after all the others have."""
        with contextlib.suppress(TimeoutError):
            self.box.wait(1)
        if any(self.dead(name) for name in ("child", "grandchild")):
            self.box.wait()
        return not self.box.alive

    def close(self) -> None:
        self._undo.close()


class Counter:
    """A container that can be asked which pid it gives out next."""

    def __init__(self) -> None:
        self.box = Sandbox(COUNTER)
        self._said(1)

    def next_number(self) -> int:
        """The pid of its next process; asking uses that one up."""
        lines = len(self.box.output().split())
        self.box.kill(signal.SIGUSR1)
        return int(self._said(lines + 1))

    def _said(self, lines: int) -> str:
        """The last word of its output, as soon as there are so many."""
        return wait_for(lambda: self.box.output().split()[lines - 1 :])[0]

    def close(self) -> None:
        self.box.close()


def first_child(pid: int) -> int:
    """The first child of a process, as soon as it has one."""
    return wait_for(lambda: procfs.children(pid))[0]


def wait_for(look: Callable[[], T], seconds: float = 20) -> T:
    """What `look` returns, as soon as it is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise Unavailable(f"the stage was not set within {seconds:g} s")
        time.sleep(0.01)
    return found
