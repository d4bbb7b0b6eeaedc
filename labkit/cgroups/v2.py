"""cgroup v2: one hierarchy at /sys/fs/cgroup, controllers handed down from parent to child.

Files and their meaning: admin-guide/cgroup-v2 in the kernel documentation. A group has the files of
a controller only if its parent's cgroup.subtree_control names it, so make() enables them from the
root down. Here: how the words of common.Cgroup are said with these files.
"""

import contextlib
import errno
import math
import os
import signal

from labkit.cgroups.common import Cgroup, check_pid
from labkit.cgroups.files import ROOT, TIMEOUT, flat, pauses, read_text, write
from labkit.cgroups.limits import (
    CPU_PERIOD_US,
    IoMax,
    Limits,
    Pressure,
    Statistics,
    check_machine,
    parse_limit,
    show_limit,
)
from labkit.errors import Conflict, InvalidParameter, Unavailable, Unsupported
from labkit.linux import bpf
from labkit.linux.procfs import MountInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")  #: those that labkit hands down

#: field of Limits -> file, where the value is one number
FILES = {
    "memory_high": "memory.high",
    "memory_low": "memory.low",
    "memory_max": "memory.max",
    "memory_swap_max": "memory.swap.max",
    "cpu_weight": "cpu.weight",
    "pids_max": "pids.max",
}

#: files that a delegatee must own, where the kernel (before 4.15) does not list them
DELEGATE = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def is_mounted(mounts: list[MountInfo]) -> bool:
    """Is what is seen at /sys/fs/cgroup a cgroup2 file system? The last mount there covers all."""
    return [mount.fstype for mount in mounts if mount.point == ROOT][-1:] == ["cgroup2"]


class Group(Cgroup):
    """A group below /sys/fs/cgroup."""

    version = "v2"

    def __init__(self, name: str) -> None:
        super().__init__(name, [f"{ROOT}/{name}"])

    def _sibling(self, name: str) -> Cgroup:
        return Group(name)

    def path(self, file: str) -> str:
        return f"{self.directories[0]}/{file}"

    def _prepare(self, parent: str, directory: str) -> None:
        """Enable in `parent` what it can hand down and does not yet, "Enabling and Disabling"."""
        offered = read_text(f"{parent}/cgroup.controllers").split()
        enabled = read_text(f"{parent}/cgroup.subtree_control").split()
        wanted = [f"+{c}" for c in CONTROLLERS if c in offered and c not in enabled]
        if not wanted:
            return
        try:
            write(f"{parent}/cgroup.subtree_control", " ".join(wanted))
        except PermissionError:  # not ours: a limit that needs one of them says so
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            name = os.path.relpath(parent, ROOT)
            raise Conflict(_both(name, f"enable {' '.join(wanted)} for its children")) from error

    # ---- limits -------------------------------------------------------------

    def plan(self, limits: Limits) -> list[tuple[str, str]]:
        check_machine(limits)
        pairs = [
            (file, show_limit(value, "max"))
            for name, file in FILES.items()
            if (value := getattr(limits, name)) is not None
        ]
        if limits.memory_oom_group is not None:
            pairs.append(("memory.oom.group", str(int(limits.memory_oom_group))))
        if limits.cpu_max is not None:
            quota = "max" if limits.cpu_max == math.inf else round(limits.cpu_max * CPU_PERIOD_US)
            pairs.append(("cpu.max", f"{quota} {CPU_PERIOD_US}"))
        if limits.cpus is not None:
            pairs.append(("cpuset.cpus", limits.cpus))
        for device, io in (limits.io_max or {}).items():
            words = [f"{key}={show_limit(value, 'max')}" for key, value in io.items()]
            pairs.append(("io.max", " ".join([device, *words])))
        self._check_controllers(file for file, _ in pairs)
        return pairs

    def _check_controllers(self, files: "Iterable[str]") -> None:
        """Unsupported, before anything is written, for what the machine's root does not offer."""
        offered = read_text(f"{ROOT}/cgroup.controllers").split()
        for file in files:
            if (controller := file.partition(".")[0]) not in offered:
                raise Unsupported(f"{file}: this machine's cgroup v2 does not offer {controller}, "
                                  f"only {' '.join(offered) or 'nothing'}")  # fmt: skip

    def limits(self) -> Limits:
        self.read("cgroup.events")  # NotFound if the group is gone, Unsupported means None below
        values: dict[str, object] = {
            name: self._value(file, parse_limit) for name, file in FILES.items()
        }
        oom_group = self._value("memory.oom.group", int)
        values |= {
            "memory_oom_group": None if oom_group is None else bool(oom_group),
            "cpu_max": self._value("cpu.max", _cpus),
            "cpus": self._value("cpuset.cpus.effective", str),
            "io_max": self._value("io.max", _io_max),
        }
        return Limits.found(values)

    def _value(self, file: str, convert: "Callable[[str], T]") -> "T | None":
        """None where the controller is not enabled, or the kernel has no such file."""
        try:
            return convert(self.read(file))
        except Unsupported:
            return None

    # ---- what the kernel counts ---------------------------------------------

    def statistics(self) -> Statistics:
        cpu = self._value("cpu.stat", flat) or {}
        io = self._value("io.stat", _io_stat)
        return Statistics(
            memory_current=self._value("memory.current", int),
            memory_peak=self._value("memory.peak", int),
            oom_kills=(self._value("memory.events", flat) or {}).get("oom_kill"),
            cpu_usage_us=cpu.get("usage_usec"),
            periods=cpu.get("nr_periods"),
            throttled=cpu.get("nr_throttled"),
            throttled_us=cpu.get("throttled_usec"),
            pids_current=self._value("pids.current", int),
            pids_refused=self._pids_refused(),
            io_read_bytes=None if io is None else io["rbytes"],
            io_write_bytes=None if io is None else io["wbytes"],
        )

    def _pids_refused(self) -> int | None:
        """Linux 6.11 counts at the limit and above it; before, only in the forking group itself."""
        own = (self._value("pids.events", flat) or {}).get("max")
        if own is None or os.path.exists(self.path("pids.events.local")):
            return own
        return own + sum(Group(c.name)._pids_refused() or 0 for c in self.children())

    def pressure(self, resource: str) -> Pressure:
        if resource not in ("cpu", "memory", "io"):
            raise InvalidParameter(f"pressure is for cpu, memory or io, not {resource!r}")
        try:
            return Pressure.parse(self.read(f"{resource}.pressure"))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise Unsupported(
                "this kernel does not measure pressure, boot it with psi=1"
            ) from error

    # ---- members ------------------------------------------------------------

    def add(self, pid: int = 0) -> None:
        check_pid(pid)
        try:
            self.write("cgroup.procs", str(pid))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise Conflict(_both(self.name, f"take process {pid or 'self'}")) from error

    @property
    def populated(self) -> bool:
        return self._event("populated")

    @property
    def frozen(self) -> bool:
        return self._event("frozen")

    def _event(self, key: str) -> bool:
        return flat(self.read("cgroup.events"))[key] == 1

    def freeze(self, timeout: float = TIMEOUT) -> None:
        self._refuse_own("freeze")
        self.write("cgroup.freeze", "1")
        for _ in pauses(timeout):
            if self.frozen:
                return
        self.thaw()
        raise Unavailable(f"cgroup {self.name!r} did not freeze within {timeout:g} s")

    def thaw(self) -> None:
        self.write("cgroup.freeze", "0")

    def _end_members(self) -> None:
        """cgroup.kill, Linux 5.14; before: frozen processes cannot fork, but can be killed."""
        if os.path.exists(self.path("cgroup.kill")):
            return self.write("cgroup.kill", "1")
        with contextlib.suppress(Unavailable):  # then the next round gets the rest
            self.freeze(timeout=0.5)
        for pid in self.pids(recursive=True):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.thaw()

    def allow_devices(self, rules: list[bpf.DeviceRule]) -> None:
        """By a BPF program, see labkit.linux.bpf."""
        self.read("cgroup.events")  # NotFound if the group is gone
        fd = os.open(self.directories[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            bpf.attach(fd, bpf.device_program(rules))
        finally:
            os.close(fd)

    def delegate(self, uid: int, gid: int = -1) -> None:
        """Give him the directory and the files of "Delegation"; the limits stay root's."""
        files = list(DELEGATE)
        with contextlib.suppress(FileNotFoundError):
            files = read_text("/sys/kernel/cgroup/delegate").split()
        for path in ("", *files):
            with contextlib.suppress(FileNotFoundError):
                os.chown(self.path(path), uid, gid)


# ---- formats ----------------------------------------------------------------


def _both(name: str, wish: str) -> str:
    """The rule of "No Internal Process Constraint", as a message."""
    return (
        f"group {name} has members and controllers: it cannot {wish}; a group of cgroup v2 either "
        "holds processes or hands controllers down: move the processes to a child"
    )


def _cpus(text: str) -> float:
    quota, period = text.split()
    return math.inf if quota == "max" else int(quota) / int(period)


def _io_max(text: str) -> dict[str, IoMax]:
    """Lines such as "254:0 rbps=max wbps=1048576 riops=max wiops=max"."""
    found = {}
    for line in text.splitlines():
        device, *pairs = line.split()
        found[device] = IoMax()
        for key, _, value in (pair.partition("=") for pair in pairs):
            setattr(found[device], key, parse_limit(value))
    return found


def _io_stat(text: str) -> dict[str, int]:
    """Sums over all devices of "254:0 rbytes=4096 wbytes=0 ..." lines."""
    sums = {"rbytes": 0, "wbytes": 0}
    for line in text.splitlines():
        for key, _, value in (pair.partition("=") for pair in line.split()[1:]):
            if key in sums:
                sums[key] += int(value)
    return sums
