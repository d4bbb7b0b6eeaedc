"""The first process of a World: an init that reaps, and forks children on request.

Here: its loop and its verbs. Not here: the root file system of the machine (labkit.lab.world_root),
starting and asking it (labkit.lab.world). It runs under `python -I -S` and has one thread.

    kernel ── {"do": "child", "name": "a"} + descriptors ──> init      one request, one answer
    kernel <── {"pid": number in the machine} or {"error": ...} ── init

Framing as in labkit.lab.child_main. When the kernel is gone the socket ends, so does init, and with
the first process of a pid namespace all others end: pid_namespaces(7).
"""

import contextlib
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time

from labkit import cgroups
from labkit.lab import child_main, sandbox_main
from labkit.lab.world_root import Spec, enter_root
from labkit.linux import procfs
from labkit.linux.syscalls import sethostname
from labkit.namespaces import bring_up_lo
from labkit.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

KINDS = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
HOSTNAME = "machine"


# ---- init ---------------------------------------------------------------------


class Init:
    """Process 1 of the machine: `names` and wait statuses of what it forked, by pid."""

    def __init__(self, spec: Spec, sock: socket.socket) -> None:
        self.spec, self.sock = spec, sock
        self.names = {1: "init"}
        self.statuses: dict[int, int] = {}
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def loop(self) -> None:
        """Until the kernel is gone: reap whenever something ends, answer whenever it asks."""
        poll = select.poll()
        for fd in (self.sock.fileno(), self._wake):
            poll.register(fd, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            self.reap()
            if self.sock.fileno() in ready:
                message, fds = child_main.receive(self.sock, 3)
                child_main.send(self.sock, self.answer(message, fds))
                for fd in fds:
                    os.close(fd)

    def reap(self) -> None:
        """Everyone who has ended, orphans too: their parent was not us, but they are ours now."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                self.statuses[pid] = status
                if pid not in self.names:
                    del self.statuses[pid]

    def answer(self, message: "dict[str, Any]", fds: list[int]) -> "dict[str, Any]":
        try:
            verb: Callable[..., dict[str, Any]] = VERBS[message.pop("do")]
            return verb(self, fds, **message)
        except Exception as error:
            return {"error": child_main.describe(error)}

    def fork(self, name: str, function: "Callable[[], object]") -> "dict[str, Any]":
        """Run `function` in a new process of that name; it must not return."""
        if pid := os.fork():
            self.names[pid] = name
            self.statuses.pop(pid, None)
            return {"pid": pid}
        code = 1
        try:
            self.sock.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.chdir("/")
            function()
            code = 0
        finally:
            os._exit(code)


def _child(init: Init, fds: list[int], name: str) -> "dict[str, Any]":
    def run() -> None:
        raise_oom_score()
        child_main.become(socket.socket(fileno=fds[0]), fds[1], name)

    return init.fork(name, run)


def _sandbox(init: Init, fds: list[int], spec: "dict[str, Any]") -> "dict[str, Any]":
    def run() -> None:
        raise_oom_score()
        child_main.title("sandbox")
        os.makedirs(spec["stage"], exist_ok=True)
        sock = socket.socket(fileno=fds[0])
        sandbox_main.report_errors(sandbox_main.Spec(spec), sock, fds[1])

    return init.fork("sandbox", run)


def raise_oom_score(value: int = 300) -> None:
    """When memory is short the kernel shall take what learners run, not init or the victim."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(value))


def _victim(init: Init, fds: list[int]) -> "dict[str, Any]":
    return init.fork("victim", lambda: tick(fds[0], fds[1]))


def tick(sock: int, counter: int) -> "NoReturn":
    """Add one to the number in `counter`, fifty times a second, as long as it lives."""
    os.setsid()
    child_main.title("victim")
    child_main.send(socket.socket(fileno=sock), {"hello": "victim"})
    with mmap.mmap(counter, 8) as shared:
        while True:
            time.sleep(0.02)
            struct.pack_into("Q", shared, 0, struct.unpack_from("Q", shared)[0] + 1)


def _rename(init: Init, fds: list[int]) -> "dict[str, Any]":
    sethostname(HOSTNAME)
    return {}


def _status(init: Init, fds: list[int], pid: int) -> "dict[str, Any]":
    init.reap()
    return {"status": init.statuses.get(pid)}


def _processes(init: Init, fds: list[int]) -> "dict[str, Any]":
    """[pid, name or "", command] of every process in this machine's /proc."""
    init.reap()
    found = []
    for pid in procfs.pids():
        with contextlib.suppress(ProcessLookupError):
            words = procfs.read(pid, "cmdline").rstrip("\0").split("\0")
            command = " ".join(words) or f"[{procfs.read(pid, 'comm').strip()}]"
            found.append([pid, init.names.get(pid, ""), command])
    return {"processes": found}


VERBS: "dict[str, Callable[..., dict[str, Any]]]" = {
    "child": _child,
    "sandbox": _sandbox,
    "victim": _victim,
    "rename": _rename,
    "status": _status,
    "processes": _processes,
}


def first_process(spec: Spec, sock: socket.socket) -> None:
    """What runs as pid 1: set the machine up, say hello, serve."""
    try:
        os.setsid()
        sethostname(HOSTNAME)
        bring_up_lo()
        enter_root(spec)
        os.environ.clear()
        os.environ.update(PATH=spec.path, HOME="/root", LANG="C.UTF-8")
        child_main.title("init")
        init = Init(spec, sock)
    except Exception as error:
        child_main.send(sock, {"error": child_main.describe(error)})
        return
    child_main.send(sock, {"hello": "init"})
    with contextlib.suppress(EOFError, BrokenPipeError):
        init.loop()


def main() -> None:
    """Arguments: parent's pid or 0, the Spec, descriptor of the socket. Ends with the machine."""
    child_main.die_with(int(sys.argv[1]))
    spec, sock = Spec(sys.argv[2]), socket.socket(fileno=int(sys.argv[3]))
    sock.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cgroups.open(spec.group).add()
    except Exception as error:
        child_main.send(sock, {"error": child_main.describe(error)})
        return
    with spawn(KINDS, lambda: first_process(spec, sock)) as init:
        sock.close()
        init.wait()
