"""A container over layer 1 only: namespaces, a root of its own, a cgroup, fewer capabilities.

    with Sandbox(["sleep", "60"], hostname="mars") as box:
        box.pid                          # of its first process, as the host numbers it
        box.run(["hostname"])            # (0, "mars\n"): a second process inside
        open(f"{box.root}/etc/hostname") # the host looks through the process

What happens inside, step by step: labkit.lab.sandbox_main. This is the container of notebooks 01 to
03, before there is a runtime: no images, no restart, no terminal.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labkit.cgroups import Cgroup
from labkit.errors import InvalidParameter, Unavailable
from labkit.lab import base, child_main
from labkit.lab.child import TIMEOUT, channel, hello, launch, reap
from labkit.lab.child_answer import Collector, Output, readable, rebuild
from labkit.linux import procfs
from labkit.linux.syscalls import pidfd_open, pidfd_send_signal
from labkit.namespaces import IdMap, flags
from labkit.paths import Instance

if TYPE_CHECKING:
    from labkit.lab.world import World

#: what docker run makes new, too; user and time stay shared
KINDS = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


class Sandbox:
    """A running container; made running, ended by kill() or at the end of `with`.

    argv: the program; or one string, Python source that runs as process 1 with the names of a
    Child. kinds: words of namespaces.KINDS. root: a directory that becomes /; None is the busybox
    base below a layer that ends with the container. cgroup: a group that exists. maps: ids of a new
    user namespace. world: start it inside this machine; pids then count there, paths are its own.

    NotFound when the program or root is not there, InvalidParameter for what cannot be, OSError as
    the kernel has it; then nothing is left.
    """

    def __init__(
        self,
        argv: Sequence[str] | str,
        kinds: Iterable[str] = KINDS,
        *,
        root: str | None = None,
        hostname: str = "sandbox",
        cgroup: Cgroup | None = None,
        maps: Sequence[IdMap] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        world: "World | None" = None,
    ) -> None:
        if root is not None and not os.path.isabs(root):
            raise InvalidParameter(f"root {root!r} is not an absolute path")
        self._spec = spec = {
            "argv": _checked(argv),
            "kinds": _kinds(kinds, maps),
            "root": root,
            "hostname": hostname,
            "cgroup": world.inner_name(cgroup) if world and cgroup else cgroup and cgroup.name,
            "maps": [(one.inside, one.outside, one.length) for one in maps or ()],
            "env": ENVIRONMENT | dict(env or {}),
            "cwd": cwd,
            **_places(world.instance if world else Instance(), inside=world is not None),
        }
        self._host_cgroup = cgroup and cgroup.name
        self._code: int | None = None
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as failed:
            failed.callback(self._undo.close)
            self._start(spec, world)
            failed.pop_all()

    def _start(self, spec: dict[str, Any], world: "World | None") -> None:
        """A helper starts it, here or in the world: this process has threads, so it cannot."""
        self._sock, theirs, output, pipe = channel()
        self._undo.callback(self._sock.close)
        self._undo.callback(os.close, output)
        self._output = Collector(output)
        try:
            if world:
                world.ask("sandbox", [theirs.fileno(), pipe], spec=spec)
            else:
                fds = [theirs.fileno(), pipe]
                process = launch("sandbox_main", ["start", json.dumps(spec)], fds)
                self._undo.callback(reap, process)
        finally:
            theirs.close()
            os.close(pipe)
        self.pid = hello(self._sock, "the container")
        self._pidfd = pidfd_open(self.pid)
        self._undo.callback(os.close, self._pidfd)
        self._undo.callback(self.kill)
        answer, _ = child_main.receive(self._sock)
        if "error" in answer:
            raise rebuild(answer["error"], "container")

    # ---- looking at it --------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._pidfd >= 0 and not readable(self._pidfd, 0)

    @property
    def root(self) -> str:
        """The container's / as the host reaches it, proc(5)."""
        return f"/proc/{self.pid}/root"

    def namespaces(self) -> dict[str, int]:
        """Kind -> inode, read from outside."""
        return procfs.namespaces(self.pid)

    def output(self) -> Output:
        """What it has written so far; when nobody looks it waits, as soon as a pipe is full."""
        self._output.drain()
        return self._output.text()

    # ---- doing something to it --------------------------------------------------

    def run(self, argv: Sequence[str], *, timeout: float = TIMEOUT) -> tuple[int, Output]:
        """A second program inside: (exit code, what it wrote); 127 when it is not there.

        A helper joins the namespaces, setns(2), and the cgroup. TimeoutError: it was ended.
        """
        if not self.alive:
            raise Unavailable("the container has ended")
        joining = {"argv": _checked(argv), "pid": self.pid, "cgroup": self._host_cgroup}
        spec = json.dumps(self._spec | joining | {"timeout": timeout})
        output, pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            process = launch("sandbox_main", ["join", spec], [], output=pipe)
        finally:
            os.close(pipe)
        with open(output, "rb", buffering=0):
            return self._finish(
                process, Collector(output), f"{argv[0]!r} was ended after {timeout:g} s"
            )

    @staticmethod
    def _finish(
        process: "subprocess.Popen[bytes]", written: Collector, late: str
    ) -> tuple[int, Output]:
        """The end of the helper counts, not that of the output: a background process holds that."""
        pidfd = pidfd_open(process.pid)
        try:
            written.until(pidfd)
        finally:  # also when the stop button was pressed
            os.close(pidfd)
            process.terminate()
            code = process.wait()
        written.drain()
        if code == -signal.SIGALRM:
            raise TimeoutError(late)
        return code, written.text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to its first process; SIGKILL ends all in its pid namespace."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                pidfd_send_signal(self._pidfd, number)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """The exit code of its first process, or minus the signal; TimeoutError while it runs."""
        if self._code is None:
            if not self._output.until(self._sock.fileno(), timeout):
                raise TimeoutError(f"the container still runs after {timeout:g} s")
            try:
                answer, _ = child_main.receive(self._sock)
            except EOFError:
                raise Unavailable(
                    "the container's helper was ended: its exit code is lost"
                ) from None
            self._code = int(answer["exit"])
        return self._code

    def close(self) -> None:
        """End it; a second time is no error."""
        self._undo.close()
        self._pidfd = -1

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _places(instance: Instance, *, inside: bool) -> dict[str, str]:
    """The base and an empty directory; in a world both are there already, made by its start."""
    stage = os.path.join(instance.run, "stage")
    if not inside:
        os.makedirs(stage, exist_ok=True)
    return {"lower": instance.base if inside else base.ensure(instance), "stage": stage}


def _checked(argv: Sequence[str] | str) -> list[str] | str:
    if isinstance(argv, str):
        return argv
    if not argv or not all(isinstance(word, str) for word in argv):
        raise InvalidParameter(f"argv {argv!r} is not a list of words, program first")
    return list(argv)


def _kinds(kinds: Iterable[str], maps: Sequence[IdMap] | None) -> list[str]:
    """In the order given; maps need a user namespace, a new /proc the mounts to put it in."""
    found = list(dict.fromkeys([*(["user"] if maps else []), *kinds]))
    flags(found)
    if "user" in found and not maps:
        raise InvalidParameter("a user namespace needs maps=, such as [IdMap(0, 1000)]")
    return found
