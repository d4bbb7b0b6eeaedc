"""A World: "the machine" of a notebook, where everything that a notebook breaks is broken.

    with World("nb02", memory_mib=256, pids=128) as world:
        a = world.child("a")                  # a process of its own inside, see labkit.lab.child
        a.run("sh('ps')")
        world.victim.ticks(), world.victim.alive, world.processes(), world.cgroup

It has a cgroup with limits, namespaces (mnt, pid, uts, ipc, net, cgroup), a host name, lo, devices
that can hurt nobody, and a root that shows the host's files while all writes go to a layer that
ends with it. Root in it is still root: this protects from accidents, not from an attacker.
Here: starting it, asking its init, ending it. What runs inside: labkit.lab.world_main.

When the notebook kernel dies, however, init sees its socket end, and everything in the world ends.
The empty cgroups and the disk directory stay for the ledger.
"""

import contextlib
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from labkit import cgroups
from labkit.cgroups import Cgroup, DeviceRule, Limits
from labkit.cgroups.limits import whole
from labkit.errors import LabkitError, Unavailable, Unsupported
from labkit.lab import base, child_main
from labkit.lab.child import PACKAGE_ROOT, Child, channel, check_name, hello, launch, reap
from labkit.lab.child_answer import readable, rebuild
from labkit.lab.sandbox import KINDS, Sandbox
from labkit.lab.victim import Victim
from labkit.lab.world_root import DISK, OWN, SCRATCH, below
from labkit.linux import procfs
from labkit.linux.syscalls import pidfd_open
from labkit.paths import Instance
from labkit.rootfs import DEVICES

MIB = 1 << 20

__all__ = ["DISK", "SCRATCH", "Victim", "World"]

#: any node may be made (overlayfs needs 0:0), only harmless ones can be opened; 136 is devpts,
#: 10:200 /dev/net/tun, which reaches the opener's network only, and runc insists on it
DEVICE_RULES = [
    DeviceRule("c", "m", None, None, True),
    DeviceRule("b", "m", None, None, True),
    *(DeviceRule("c", "rw", *numbers, True) for numbers in DEVICES.values()),
    DeviceRule("c", "rw", 5, 2, True),
    DeviceRule("c", "rw", 136, None, True),
    DeviceRule("c", "rwm", 10, 200, True),
]


class Record(Protocol):
    """What a World wants from a ledger: see labkit.lab.ledger."""

    def record(self, kind: str, name: str | int) -> object: ...
    def forget(self, kind: str, name: str | int) -> None: ...


class NoRecord:
    """For worlds that end with a `with`."""

    def record(self, kind: str, name: str | int) -> None: ...
    def forget(self, kind: str, name: str | int) -> None: ...


class World:
    """A running machine; made running, ended by close() or at the end of `with`.

    memory_mib and pids bound all of it together. `cgroup` is the machine's group, `pid` its init.
    Conflict when a world of that name runs already, InvalidParameter for less than 32 MiB or 8
    processes, Unsupported when something is missing here.
    """

    def __init__(
        self,
        name: str = "world",
        *,
        memory_mib: int = 256,
        pids: int = 128,
        instance: Instance | None = None,
        ledger: Record | None = None,
    ) -> None:
        self.name = name
        self.instance = instance or Instance()
        self._ledger = ledger or NoRecord()
        self._lock = threading.Lock()
        self._children: dict[str, Child] = {}
        self._groups: dict[str, Cgroup] = {}
        self._kill: Callable[[], None] = lambda: None
        self.undo = contextlib.ExitStack()
        limits = Limits(
            memory_max=(whole("memory_mib", memory_mib, "MiB", 32, 1 << 30) or 0) * MIB,
            pids_max=whole("pids", pids, "processes", 8, 1 << 22),
        )
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            self._make_groups(limits)
            self._start(memory_mib)
            self.victim = Victim(self)
            failed.pop_all()

    # ---- starting -----------------------------------------------------------

    def _make_groups(self, limits: Limits) -> None:
        """NAME/machine holds everybody, in leaves: on v2 a group that hands controllers down must
        hold no process itself. NAME/start is where the helper that started the world waits."""
        top = self.instance.name(self.name)
        self._top = self._own(top)
        self.cgroup = self._own(f"{top}/machine", limits)
        with contextlib.suppress(Unsupported):  # no swap is counted here: memory_max is all
            self.cgroup.set(Limits(memory_swap_max=0))
        self._kill = self.cgroup.kill
        self.cgroup.allow_devices(DEVICE_RULES)
        self._helper_group = self._own(f"{top}/start")

    def _own(self, name: str, limits: Limits | None = None) -> Cgroup:
        self._ledger.record("cgroup", name)
        group = cgroups.create(name, limits)
        self.undo.callback(self._ledger.forget, "cgroup", name)
        self.undo.callback(group.close)
        return group

    def _start(self, memory_mib: int) -> None:
        spec = json.dumps(self._spec(memory_mib))
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock = ours
        self.undo.callback(ours.close)
        with theirs:
            process = launch("world_main", [spec], [theirs.fileno()])
        self.undo.callback(reap, process)
        self.pid = hello(ours, "the machine's init")
        self._pidfd = pidfd_open(self.pid)
        self.undo.callback(os.close, self._pidfd)
        self._settle(process.pid)

    def _settle(self, helper: int) -> None:
        """Out of the machine's own group, which they were in so that it is the root that init's
        cgroup namespace shows, and into leaves: only now can the group get children."""
        for pid in (helper, self.pid):
            self._helper_group.add(pid)
        self._leaf = self._own(f"{self.cgroup.name}/init")
        self._leaf.add(self.pid)

    def _spec(self, memory_mib: int) -> dict[str, Any]:
        busybox = base.ensure(self.instance)
        stage = os.path.join(self.instance.run, "stage")
        os.makedirs(stage, exist_ok=True)
        shown = dict.fromkeys([PACKAGE_ROOT, sys.prefix, sys.base_prefix])
        hidden = [path for path in shown if below(path, OWN)]
        places = ("bin", "sbin", "usr/bin", "usr/sbin")
        path = [f"{busybox}/{place}" for place in places] + [f"/{place}" for place in places]
        return {
            "base": busybox,
            "disk": self._make_disk(),
            "group": self.cgroup.name,
            "keep": [busybox, *hidden],
            "memory_mib": memory_mib,
            "path": ":".join(path),
            "stage": stage,
        }

    def _make_disk(self) -> str:
        path = os.path.join(self.instance.root, "worlds", self.name)
        self._ledger.record("path", path)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        self.undo.callback(self._ledger.forget, "path", path)
        self.undo.callback(shutil.rmtree, path)
        return path

    # ---- asking init --------------------------------------------------------

    def ask(self, verb: str, fds: list[int] | None = None, **arguments: object) -> Any:
        """One request to init, a verb of world_main.VERBS; Unavailable when the world has ended."""
        with self._lock:
            if not self.alive:
                raise Unavailable(f"world {self.name!r} has ended")
            try:
                child_main.send(self._sock, {"do": verb, **arguments}, fds)
                answer, _ = child_main.receive(self._sock)
            except (EOFError, OSError) as error:
                raise Unavailable(f"world {self.name!r} has ended") from error
        if "error" in answer:
            raise rebuild(answer["error"], "init")
        return answer

    @property
    def alive(self) -> bool:
        """Does its init run?"""
        return self._sock.fileno() >= 0 and not readable(self._pidfd, 0)

    def child(self, name: str) -> Child:
        """The child of that name: made when it is first asked for, and anew when it has ended."""
        check_name(name)
        known = self._children.get(name)
        if known and known.alive:
            return known
        if known:
            known.stop()
        self._children[name] = child = self._make_child(name)
        return child

    def end_children(self) -> None:
        """End every child, so that the next one of each name is a new one."""
        for child in self._children.values():
            child.stop()
        self._children.clear()

    def mend(self, *, keep: bool = False) -> None:
        """As at the start: a live victim, its own host name, and no children, unless `keep`."""
        if not keep:
            self.end_children()
        self.victim.revive()
        self.ask("rename")

    def _make_child(self, name: str) -> Child:
        ours, theirs, output, pipe = channel()
        try:
            inside = self.ask("child", [theirs.fileno(), pipe], name=name)["pid"]
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(pipe)
        return Child(name, ours, output, lambda _: self._status_of(inside), self._oom_kills)

    def _status_of(self, inside: int) -> int | None:
        try:
            status: int | None = self.ask("status", pid=inside)["status"]
        except Unavailable:
            return None
        return status

    def _oom_kills(self) -> int:
        with contextlib.suppress(LabkitError, OSError):
            return self.cgroup.statistics().oom_kills or 0
        return 0

    # ---- what is in it ------------------------------------------------------

    def group(self, name: str, limits: Limits | None = None) -> Cgroup:
        """A new cgroup below the machine's; it ends with the world, or by its own close(), or when
        another takes its name: then the world's children in it move out, all others are ended."""
        if (before := self._groups.pop(name, None)) and before.exists:
            inside = before.pids(recursive=True)
            for child in self._children.values():
                if child.pid in inside:
                    self._leaf.add(child.pid)
            before.close()
        self._groups[name] = group = self._own(f"{self.cgroup.name}/{name}", limits)
        return group

    def inner_name(self, group: Cgroup) -> str:
        """The name that a group of this world has for those inside, who see the machine as root."""
        return group.name.removeprefix(f"{self.cgroup.name}/")

    def sandbox(
        self, argv: Sequence[str] | str, kinds: Iterable[str] = KINDS, **options: Any
    ) -> Sandbox:
        """A container inside the machine: see labkit.lab.sandbox.Sandbox for the options."""
        return Sandbox(argv, kinds, world=self, **options)

    def processes(self) -> list[tuple[str, str]]:
        """(alias, command) of every process, oldest first, as /proc of the machine has it.

        Children go by their name, others are process#1, process#2.
        """
        found = self.ask("processes")["processes"]
        numbers = iter(range(1, len(found) + 1))
        return [(name or f"process#{next(numbers)}", command) for _, name, command in found]

    def namespaces(self) -> dict[str, int]:
        """Kind -> inode of the machine's own namespaces."""
        return procfs.namespaces(self.pid)

    # ---- the end ------------------------------------------------------------

    def close(self) -> None:
        """End everything in it and remove its cgroups and its disk; a second time is no error."""
        self._kill()  # all at once, frozen or forking; what comes then finds nobody
        self.end_children()
        self.undo.close()
        self._kill = lambda: None

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<World {self.name} {'running' if self.alive else 'ended'}>"
