"""cgroup v1: one hierarchy per controller, and a group is the same path in each of them.

Files and their meaning: admin-guide/cgroup-v1 in the kernel documentation. Which hierarchies there
are is read from mountinfo. Here: how the words of common.Cgroup are said with these files.
"""

import contextlib
import math
import os
import signal
from collections.abc import Callable

from labkit.cgroups.common import Cgroup, check_pid
from labkit.cgroups.devices import v1_writes
from labkit.cgroups.files import ROOT, TIMEOUT, flat, pauses, read_text, tree, write
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
from labkit.errors import Conflict, InvalidParameter, NotFound, Unavailable, Unsupported
from labkit.linux.bpf import DeviceRule
from labkit.linux.procfs import MountInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

#: in the order in which a process joins; cpuset first, it is the one that may refuse (ENOSPC),
#: cpu last, from then on the caller lives on the group's quota
CONTROLLERS = ("cpuset", "pids", "devices", "freezer", "blkio", "memory", "cpuacct", "cpu")

UNLIMITED_BYTES = 1 << 62  #: a value from here on is no limit

V2_ONLY = ("memory_high", "memory_low", "memory_oom_group")

THROTTLE = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}  #: field of IoMax -> file


def hierarchies(mounts: list[MountInfo]) -> dict[str, str]:
    """Controller -> mount point below /sys/fs/cgroup, in the order of CONTROLLERS."""
    found = {}
    for mount in mounts:
        if mount.fstype == "cgroup" and mount.point.startswith(f"{ROOT}/"):
            found.update(dict.fromkeys(mount.super_options, mount.point))
    return {name: found[name] for name in CONTROLLERS if name in found}


def shares(weight: float) -> int:
    """cpu.shares (2 to 262144) for a weight (1 to 10000); weight() gives back the same weight.

    The OCI runtimes' straight line between the two scales. So a weight of 100 is 2598 shares, and
    the kernel's default, 1024 shares, shows as weight 39: only ratios have a meaning.
    """
    return 2 + math.ceil((weight - 1) * 262142 / 9999)


def weight(shares: int) -> int:
    return 1 + (shares - 2) * 9999 // 262142


class Group(Cgroup):
    """A group in all hierarchies that are mounted; `roots` is what hierarchies() gives."""

    version = "v1"

    def __init__(self, name: str, roots: dict[str, str]) -> None:
        self._roots = roots
        super().__init__(name, [f"{root}/{name}" for root in dict.fromkeys(roots.values())])

    def _sibling(self, name: str) -> Cgroup:
        return Group(name, self._roots)

    def path(self, file: str) -> str:
        """A file's first word is its controller; cgroup.procs and tasks are in every hierarchy."""
        controller = file.partition(".")[0]
        if controller in ("cgroup", "tasks", "notify_on_release"):
            return f"{self.directories[0]}/{file}"
        if controller not in self._roots:
            raise Unsupported(f"{file}: cgroup v1 controller {controller} is not mounted here")
        return f"{self._roots[controller]}/{self.name}/{file}"

    def _prepare(self, parent: str, directory: str) -> None:
        """A new cpuset has no CPUs and no memory nodes, and takes nobody in: cpuset(7)."""
        if not directory.startswith(f"{self._roots.get('cpuset')}/"):
            return
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not read_text(f"{directory}/{file}"):
                write(f"{directory}/{file}", read_text(f"{parent}/{file}"))

    # ---- limits -------------------------------------------------------------

    def plan(self, limits: Limits) -> list[tuple[str, str]]:
        for name in V2_ONLY:
            if getattr(limits, name) is not None:
                raise Unsupported(f"{name} needs cgroup v2, this machine has v1")
        check_machine(limits)
        pairs = self._plan_memory(limits)
        if limits.cpu_max is not None:
            quota = -1 if limits.cpu_max == math.inf else round(limits.cpu_max * CPU_PERIOD_US)
            pairs += [("cpu.cfs_period_us", str(CPU_PERIOD_US)), ("cpu.cfs_quota_us", str(quota))]
        if limits.cpu_weight is not None:
            pairs.append(("cpu.shares", str(shares(limits.cpu_weight))))
        if limits.pids_max is not None:
            pairs.append(("pids.max", show_limit(limits.pids_max, "max")))
        if limits.cpus is not None:
            pairs.append(("cpuset.cpus", limits.cpus))
        for device, io in (limits.io_max or {}).items():
            pairs += [(THROTTLE[k], f"{device} {show_limit(v, '0')}") for k, v in io.items()]
        for file, _ in pairs:
            self.path(file)  # Unsupported, before anything is written
        return pairs

    def _plan_memory(self, limits: Limits) -> list[tuple[str, str]]:
        """memsw, memory plus swap, must never be below memory: the order depends on what is."""
        if limits.memory_max is None and limits.memory_swap_max is None:
            return []
        memory_now, both_now = self._memory_now()
        memory = memory_now if limits.memory_max is None else limits.memory_max
        swap = both_now - memory_now if both_now < math.inf else both_now
        if limits.memory_swap_max is not None:
            swap = limits.memory_swap_max
            if memory == math.inf != swap:
                raise InvalidParameter(f"memory_swap_max={swap} needs a memory_max on cgroup v1")
        pairs, both = [], memory + swap
        if limits.memory_max is not None:
            pairs.append(("memory.limit_in_bytes", show_limit(memory, "-1")))
        if both != both_now:
            pairs.append(("memory.memsw.limit_in_bytes", show_limit(both, "-1")))
        return pairs[::-1] if both > both_now else pairs

    def _memory_now(self) -> tuple[float, float]:
        """memory, and memory plus swap."""
        if not self.exists:
            return math.inf, math.inf
        memory = self._value("memory.limit_in_bytes", _bytes)
        both = self._value("memory.memsw.limit_in_bytes", _bytes)
        return math.inf if memory is None else memory, math.inf if both is None else both

    def limits(self) -> Limits:
        """cpu_weight is 39 where nothing was set: see shares()."""
        memory, both = self._memory_now()
        swap = both - memory if both < math.inf else both
        values = {
            "memory_max": self._value("memory.limit_in_bytes", _bytes),
            "memory_swap_max": self._value("memory.memsw.limit_in_bytes", lambda _: swap),
            "cpu_max": self._value("cpu.cfs_quota_us", self._cpus),
            "cpu_weight": self._value("cpu.shares", lambda text: weight(int(text))),
            "pids_max": self._value("pids.max", parse_limit),
            "cpus": self._value("cpuset.effective_cpus", str),
            "io_max": self._io_max(),
        }
        return Limits.found(values)

    def _value(self, file: str, convert: "Callable[[str], T]") -> "T | None":
        """None where the machine has no such controller, or the kernel no such file."""
        try:
            return convert(self.read(file))
        except Unsupported:
            return None

    def _cpus(self, quota: str) -> float:
        return math.inf if int(quota) < 0 else int(quota) / int(self.read("cpu.cfs_period_us"))

    def _io_max(self) -> dict[str, IoMax]:
        found: dict[str, IoMax] = {}
        for key, file in THROTTLE.items():
            for line in self._value(file, str.splitlines) or []:
                device, value = line.split()
                setattr(found.setdefault(device, IoMax(*[math.inf] * 4)), key, int(value))
        return found

    # ---- what the kernel counts ---------------------------------------------

    def statistics(self) -> Statistics:
        cpu = self._value("cpu.stat", flat) or {}
        usage = self._value("cpuacct.usage", int)
        waited = cpu.get("throttled_time")
        done = self._value("blkio.throttle.io_service_bytes_recursive", _by_operation) or {}
        return Statistics(
            memory_current=self._value("memory.usage_in_bytes", int),
            memory_peak=self._value("memory.max_usage_in_bytes", int),
            oom_kills=self._sum("memory.oom_control", "oom_kill"),
            cpu_usage_us=None if usage is None else usage // 1000,
            periods=cpu.get("nr_periods"),
            throttled=cpu.get("nr_throttled"),
            throttled_us=None if waited is None else waited // 1000,
            pids_current=self._value("pids.current", int),
            pids_refused=self._sum("pids.events", "max"),
            io_read_bytes=done.get("Read"),
            io_write_bytes=done.get("Write"),
        )

    def _sum(self, file: str, key: str) -> int | None:
        """v1 counts these failures only in the very group where they happened."""
        if (own := self._value(file, flat)) is None or key not in own:
            return None
        below = [Group(child.name, self._roots)._sum(file, key) for child in self.children()]
        return own[key] + sum(count or 0 for count in below)

    def pressure(self, resource: str) -> Pressure:
        raise Unsupported(f"pressure of {resource} per group needs cgroup v2, this machine has v1")

    # ---- members ------------------------------------------------------------

    def add(self, pid: int = 0) -> None:
        """The caller alone writes "0" into tasks: moving only itself, it waits for no lock.

        A write to cgroup.procs moves whole processes, and waits for an RCU grace period, ~10 ms
        for each hierarchy. With more than one thread the caller has to go that way too.
        """
        check_pid(pid)
        alone = pid == 0 and len(os.listdir("/proc/self/task")) == 1
        for directory in self.directories:
            self._write(f"{directory}/{'tasks' if alone else 'cgroup.procs'}", str(pid))

    def freeze(self, timeout: float = TIMEOUT) -> None:
        """Asked again while FREEZING: a process that was just forking escapes the first time."""
        self._refuse_own("freeze")
        for _ in pauses(timeout):
            self.write("freezer.state", "FROZEN")
            if self.frozen:
                return
        self.thaw()
        raise Unavailable(f"cgroup {self.name!r} did not freeze within {timeout:g} s")

    def thaw(self) -> None:
        self.write("freezer.state", "THAWED")

    @property
    def frozen(self) -> bool:
        return self.read("freezer.state") == "FROZEN"

    def _end_members(self) -> None:
        """Frozen processes cannot fork; they take the signal when they are thawed."""
        with contextlib.suppress(Unsupported, Unavailable):  # then the next round gets the rest
            self.freeze(timeout=0.5)
        for pid in self.pids(recursive=True):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(Unsupported, NotFound):
            for directory in tree(self.path("freezer.state").rpartition("/")[0]):
                self._write(f"{directory}/freezer.state", "THAWED")

    def allow_devices(self, rules: list[DeviceRule]) -> None:
        writes = v1_writes(rules)
        self.path("devices.deny")
        if self.children():
            raise Conflict(f"cgroup {self.name!r} has children: set device rules before")
        for file, value in writes:
            self.write(file, value)

    def delegate(self, uid: int, gid: int = -1) -> None:
        raise Unsupported(f"delegation to uid {uid} needs cgroup v2, this machine has v1")


def _bytes(text: str) -> float:
    """ "No limit" is shown as the largest number of whole pages."""
    return math.inf if int(text) >= UNLIMITED_BYTES else int(text)


def _by_operation(text: str) -> dict[str, int]:
    """Sums over all devices of "254:0 Read 4096" lines."""
    sums = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in sums:
            sums[words[1]] += int(words[2])
    return sums
