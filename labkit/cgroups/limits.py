"""The data of a control group: what can be limited, and what is counted.

Here: Limits and IoMax with the checks that need no group, Statistics, Pressure. Not here: files and
their formats (labkit.cgroups.v1, v2). Names follow cgroup v2, admin-guide/cgroup-v2 in the kernel
documentation; cgroups(7) introduces both versions.
"""

import math
import os
from collections.abc import Iterator

from labkit.errors import InvalidParameter, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAGE = os.sysconf("SC_PAGESIZE")
CPU_PERIOD_US = 100_000  #: the kernel's default, and docker's


class Record:
    """Fields in __slots__, shown without those that are None, equal when all fields are."""

    __slots__: tuple[str, ...] = ()

    def items(self) -> "Iterator[tuple[str, Any]]":
        """The fields that have a value, in order."""
        for name in self.__slots__:
            if (value := getattr(self, name)) is not None:
                yield name, value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self.items())})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]


class IoMax(Record):
    """Ceilings for one block device: None = leave as it is, math.inf = no ceiling.

    rbps, wbps: bytes read, written per second; riops, wiops: operations per second.
    """

    __slots__ = ("rbps", "wbps", "riops", "wiops")

    def __init__(
        self,
        rbps: float | None = None,
        wbps: float | None = None,
        riops: float | None = None,
        wiops: float | None = None,
    ) -> None:
        self.rbps = whole("io_max rbps", rbps, " of bytes per second", 1)
        self.wbps = whole("io_max wbps", wbps, " of bytes per second", 1)
        self.riops = whole("io_max riops", riops, " of operations per second", 1)
        self.wiops = whole("io_max wiops", wiops, " of operations per second", 1)


class Limits(Record):
    """What a group may use. None = leave as it is, math.inf = no limit.

    memory_max: bytes; above it, and with nothing to reclaim, the OOM killer chooses a member.
    memory_swap_max: bytes of swap on top of memory_max.
    memory_high: bytes above which members are slowed down, memory_low: bytes spared from reclaim,
    memory_oom_group: an OOM kill takes all members (these three: v2 only).
    cpu_max: CPUs, 0.5 is half of one; cpu_weight: 1 to 10000, counts only under contention.
    pids_max: processes and threads together.  cpus: a list as "0-1,3".
    io_max: IoMax by device, {"254:0": IoMax(wbps=10**6)}; whole disks only, see device_of().

    Raises InvalidParameter for a value that can never be right.
    """

    __slots__ = (
        "memory_max", "memory_swap_max", "memory_high", "memory_low", "memory_oom_group",
        "cpu_max", "cpu_weight", "pids_max", "cpus", "io_max",
    )  # fmt: skip

    def __init__(
        self,
        *,
        memory_max: float | None = None,
        memory_swap_max: float | None = None,
        memory_high: float | None = None,
        memory_low: float | None = None,
        memory_oom_group: bool | None = None,
        cpu_max: float | None = None,
        cpu_weight: int | None = None,
        pids_max: float | None = None,
        cpus: str | None = None,
        io_max: dict[str, IoMax] | None = None,
    ) -> None:
        self.memory_max = whole("memory_max", memory_max, " of bytes", PAGE)
        self.memory_swap_max = whole("memory_swap_max", memory_swap_max, " of bytes", 0)
        self.memory_high = whole("memory_high", memory_high, " of bytes", PAGE)
        self.memory_low = whole("memory_low", memory_low, " of bytes", 0)
        self.memory_oom_group = memory_oom_group
        self.cpu_max = _cpu_max(cpu_max)
        self.cpu_weight = whole("cpu_weight", cpu_weight, "", 1, 10_000)
        self.pids_max = whole("pids_max", pids_max, " of processes", 0)
        self.cpus = cpus
        self.io_max = _io_max(io_max)
        if memory_oom_group not in (None, True, False):
            raise InvalidParameter(
                f"memory_oom_group must be True or False, not {memory_oom_group!r}"
            )
        if cpus is not None:
            cpu_list(cpus)

    @classmethod
    def found(cls, values: "dict[str, Any]") -> "Limits":
        """The limits that the kernel shows: taken as they are, also what we would not set."""
        limits = cls()
        for name, value in values.items():
            setattr(limits, name, value)
        return limits


def whole(
    name: str, value: float | None, unit: str, least: int, most: float = math.inf
) -> float | None:
    """`value` as an int (or None, or math.inf where nothing bounds it from above)."""
    if value is None or (value == math.inf == most):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and value // 1 == value and least <= value <= most:
        return int(value)
    bounds = f"{least} to {most}" if most < math.inf else f"{least} or more, or math.inf"
    raise InvalidParameter(f"{name} must be a whole number{unit}, {bounds}, not {value!r}")


def _cpu_max(value: float | None) -> float | None:
    """The kernel's smallest quota is 1 ms, and the period is 100 ms: so 0.01."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (number and value >= 0.01):
        return value
    raise InvalidParameter(f"cpu_max must be a number of CPUs, 0.01 or more, not {value!r}")


def show_limit(value: float, unlimited: str) -> str:
    """As control files take it."""
    return unlimited if value == math.inf else str(int(value))


def parse_limit(text: str) -> float:
    """The number in a file such as pids.max, in which "max" is no limit."""
    return math.inf if text == "max" else int(text)


def _io_max(value: dict[str, IoMax] | None) -> dict[str, IoMax] | None:
    if value is None or (
        isinstance(value, dict) and all(isinstance(ceilings, IoMax) for ceilings in value.values())
    ):
        return value
    raise InvalidParameter(f"io_max must be a dictionary from 'MAJ:MIN' to IoMax, not {value!r}")


# ---- what the machine must have ---------------------------------------------


def cpu_list(text: str) -> set[int]:
    """The CPUs named by a list such as "0-1,3", format of cpuset(7)."""
    found: set[int] = set()
    for part in text.split(",") if isinstance(text, str) else [""]:
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 5 for end in ends):
            raise InvalidParameter(f"cpus={text!r} is not a list of CPUs such as '0-1,3'")
        low, high = int(ends[0]), int(ends[1])
        if low > high:
            raise InvalidParameter(f"cpus={text!r}: the range {part} runs backwards")
        found.update(range(low, high + 1))
    return found


def check_machine(limits: Limits) -> None:
    """InvalidParameter for CPUs and disks that this machine does not have."""
    if limits.cpus is not None:
        with open("/sys/devices/system/cpu/online") as file:
            online = file.read().strip()
        if missing := cpu_list(limits.cpus) - cpu_list(online):
            raise InvalidParameter(
                f"cpus={limits.cpus!r}: no CPU {min(missing)} here, online are {online}"
            )
    for device in limits.io_max or {}:
        if not device.replace(":", "", 1).isdigit() or not os.path.exists(_sysfs(device)):
            raise InvalidParameter(f"io_max: no block device {device!r} on this machine")
        if (disk := _whole_disk(device)) != device:
            raise InvalidParameter(f"io_max: {device} is a partition, limit its disk {disk}")


def device_of(path: str) -> str:
    """ "MAJ:MIN" of the whole disk that holds `path`: what io_max wants.

    Raises Unsupported when the file system lies on no block device (tmpfs, overlay, btrfs).
    """
    number = os.stat(path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    if not os.path.exists(_sysfs(device)):
        raise Unsupported(f"{path} lies on no block device, its file system has {device}")
    return _whole_disk(device)


def _sysfs(device: str) -> str:
    return f"/sys/dev/block/{device}"


def _whole_disk(device: str) -> str:
    """A partition's directory in sysfs lies inside that of its disk."""
    directory = os.path.realpath(_sysfs(device))
    if not os.path.exists(f"{directory}/partition"):
        return device
    with open(f"{os.path.dirname(directory)}/dev") as file:
        return file.read().strip()


# ---- what the kernel counts -------------------------------------------------


class Statistics(Record):
    """Counters of a group and all groups below it; None where this kernel does not count.

    memory_current, memory_peak: bytes.  oom_kills: processes killed for lack of memory.
    cpu_usage_us: CPU time.  periods, throttled: enforcement periods, and those in which the group
    ran out of quota; throttled_us: time its threads then waited (these three: of the group itself).
    pids_current: processes and threads.  pids_refused: forks refused by pids_max.
    io_read_bytes, io_write_bytes: to disks; v1 may count only once a disk has had an io_max.
    On v1 oom_kills and pids_refused of a child group go with it when it is removed.
    """

    __slots__ = (
        "memory_current", "memory_peak", "oom_kills", "cpu_usage_us", "periods", "throttled",
        "throttled_us", "pids_current", "pids_refused", "io_read_bytes", "io_write_bytes",
    )  # fmt: skip

    def __init__(
        self,
        *,
        memory_current: int | None = None,
        memory_peak: int | None = None,
        oom_kills: int | None = None,
        cpu_usage_us: int | None = None,
        periods: int | None = None,
        throttled: int | None = None,
        throttled_us: int | None = None,
        pids_current: int | None = None,
        pids_refused: int | None = None,
        io_read_bytes: int | None = None,
        io_write_bytes: int | None = None,
    ) -> None:
        self.memory_current, self.memory_peak = memory_current, memory_peak
        self.oom_kills, self.cpu_usage_us = oom_kills, cpu_usage_us
        self.periods, self.throttled, self.throttled_us = periods, throttled, throttled_us
        self.pids_current, self.pids_refused = pids_current, pids_refused
        self.io_read_bytes, self.io_write_bytes = io_read_bytes, io_write_bytes


class Pressure(Record):
    """Totals since boot, or since the group began, in microseconds of lost time.

    some_us: at least one thread waited for the resource; full_us: all of them did at once.
    Take two and subtract. Documented in accounting/psi of the kernel documentation.
    """

    __slots__ = ("some_us", "full_us")

    def __init__(self, some_us: int, full_us: int) -> None:
        self.some_us, self.full_us = some_us, full_us

    @classmethod
    def parse(cls, text: str) -> "Pressure":
        """From "some avg10=0.00 ... total=123" and the same with "full" (not for cpu of old)."""
        totals = {line.split()[0]: int(line.rpartition("total=")[2]) for line in text.splitlines()}
        return cls(totals["some"], totals.get("full", 0))
