"""Numbers and curves of a group: what it holds, what it has used, how long it had to wait.

    meter = Meter(group)
    Live("memory", meter.memory, 0.5, limits=["limit"], unit="MiB")    # follows it
    meter.set_memory(32)                                               # what a slider calls
    follow(meter.memory, 2).chart("memory")                            # two seconds, as a picture
    measure(world, a, b)                                               # CPU time of two groups

Not here: making groups and giving them something to do (labkit.lab.workloads).
"""

import contextlib
import errno
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from labkit import cgroups
from labkit.cgroups import Cgroup, Limits, Pressure
from labkit.cgroups.files import pauses
from labkit.errors import InvalidParameter, Unavailable, Unsupported
from labkit.lab.card import word
from labkit.lab.chart import Chart, curves
from labkit.lab.world import World

MIB = 1 << 20
FAVOUR = 10_000  #: the highest cpu_weight
SHORTEST = 0.1  #: seconds between two looks at CPU time: a period

Sample = dict[str, float | None]


class Meter:
    """Looks at one group: memory() in MiB, cpu() in percent of one CPU since the last look."""

    def __init__(self, group: Cgroup) -> None:
        self.group = group
        self._before = self._look()

    def memory(self) -> Sample:
        """used and limit in MiB; a group without a limit has None."""
        used = self.group.statistics().memory_current
        limit = self.group.limits().memory_max
        return {"used": None if used is None else used / MIB, "limit": _finite(limit, 1 / MIB)}

    def cpu(self) -> Sample:
        """Percent of the time since the last look.

        used: CPU time, 100 is one CPU. limit. stopped: periods in which the group ran out of quota.
        waiting: pressure, at least one thread wanted a CPU and got none; of this group where the
        kernel tells (cgroup v2), else of the whole computer.
        """
        before = self._before
        time.sleep(max(0, before.at + SHORTEST - time.monotonic()))
        now = self._look()
        self._before = now
        seconds, periods = now.at - before.at, now.periods - before.periods
        return {
            "used": (now.used - before.used) / seconds * 100,
            "limit": _finite(self.group.limits().cpu_max, 100),
            "stopped": (now.throttled - before.throttled) / max(periods, 1) * 100,
            "waiting": min((now.waited - before.waited) / seconds * 100, 100),
        }

    def _look(self) -> "Look":
        found = self.group.statistics()
        return Look(
            time.monotonic(),
            (found.cpu_usage_us or 0) / 1e6,
            found.periods or 0,
            found.throttled or 0,
            _waited(self.group) / 1e6,
        )

    def set_memory(self, mib: int, timeout: float = 5) -> None:
        """A new memory limit, at a moment at which the group holds less.

        Set while it holds more than can be reclaimed, v1 refuses it and v2 kills a member. A
        sixteenth of the old limit is kept free for what a member is just about to take.
        Unavailable when there is no such moment within `timeout` seconds.
        """
        before = self.group.limits().memory_max or math.inf
        spare = before / 16 if mib * MIB < before < math.inf else 0
        for _ in pauses(timeout):
            if (self.group.statistics().memory_current or 0) + spare < mib * MIB:
                try:
                    return self.group.set(Limits(memory_max=mib * MIB))
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
        raise Unavailable(f"the group held more than {mib} MiB for {timeout:g} s")

    def set_cpu(self, percent: int) -> None:
        """A new ceiling, 100 is one CPU."""
        self.group.set(Limits(cpu_max=percent / 100))


@dataclass(frozen=True)
class Look:
    """Counters at a time, all in seconds but periods and throttled."""

    at: float
    used: float
    periods: int
    throttled: int
    waited: float


def _waited(group: Cgroup) -> int:
    """Microseconds of CPU pressure; 0 where this kernel does not measure it."""
    with contextlib.suppress(Unsupported):
        return group.pressure("cpu").some_us
    with contextlib.suppress(Unsupported):
        return cgroups.system_pressure("cpu").some_us
    return 0


def _finite(limit: float | None, factor: float) -> float | None:
    return None if limit is None or limit == math.inf else limit * factor


# ---- for a while ----------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """Samples of one function: seconds since the start, and one series for each name."""

    seconds: list[float]
    series: dict[str, list[float]]

    def then(self, later: "History") -> "History":
        """This one, and another behind it."""
        start = self.seconds[-1]
        series = {name: [*values, *later.series[name]] for name, values in self.series.items()}
        return History([*self.seconds, *(start + at for at in later.seconds)], series)

    def average(self, name: str) -> float:
        return sum(self.series[name]) / len(self.series[name])

    def chart(self, title: str) -> Chart:
        """Memory in MiB; the caption says whether it stayed within the limit, to a fiftieth."""
        used, limits = self.series["used"], self.series["limit"]
        within = all(u <= 1.02 * limit for u, limit in zip(used, limits, strict=True))
        moved = " MiB, then ".join(f"{limit:g}" for limit in dict.fromkeys(limits))
        caption = f"limit {moved} MiB; used stays within it: {word(within)}"
        if len(set(limits)) == 1:
            shown, limit = {"used": used}, limits[0]
            return curves(title, self.seconds, shown, unit="MiB", limit=limit, caption=caption)
        return curves(title, self.seconds, self.series, unit="MiB", caption=caption)

    def cpu_chart(self, title: str) -> Chart:
        """Percent of one CPU, and of periods; the caption says whether the ceiling held."""
        limit, average = self.series["limit"][-1], self.average("used")
        shown = {
            "CPU time used": self.series["used"],
            "periods cut short": self.series["stopped"],
        }
        caption = (
            f"limit {limit:g} percent; used within it, on average: {word(average <= 1.2 * limit)}; "
            f"most periods cut short: {word(self.average('stopped') > 50)}"
        )
        return curves(title, self.seconds, shown, unit="percent", limit=limit, caption=caption)


def follow(
    sample: Callable[[], Mapping[str, float | None]],
    seconds: float,
    *,
    every: float = 0.1,
    end: Callable[[], bool] = lambda: False,
) -> History:
    """Take a sample again and again, for so long or until `end()`; at least one."""
    if seconds <= 0 or every <= 0:
        raise InvalidParameter(f"cannot follow for {seconds!r} s every {every!r} s")
    start, times, series = time.monotonic(), list[float](), dict[str, list[float]]()
    while True:
        time.sleep(every)
        values = sample()
        times.append(time.monotonic() - start)
        for name, value in values.items():
            series.setdefault(name, []).append(math.nan if value is None else value)
        if end() or times[-1] >= seconds:
            return History(times, series)


# ---- who got how much -------------------------------------------------------------


@dataclass(frozen=True)
class Spent:
    """What one group used in a measured time: CPUs (1.0 is one, all the time) and periods."""

    cpus: float
    periods: int
    throttled: int


@contextlib.contextmanager
def favoured(world: World) -> Iterator[None]:
    """Let the machine go before everything else on this computer, for as long as a measurement
    takes: so a busy computer does not bend the numbers. Among its own groups nothing changes."""
    top = cgroups.open(world.cgroup.name.rpartition("/")[0])
    before = int(top.limits().cpu_weight or 1)
    top.set(Limits(cpu_weight=FAVOUR))
    try:
        yield
    finally:
        top.set(Limits(cpu_weight=before))


def measure(world: World, *groups: Cgroup, seconds: float = 1.5) -> list[Spent]:
    """CPU time of each group over the same time, while the machine is favoured."""
    with favoured(world):
        before, start = [group.statistics() for group in groups], time.monotonic()
        time.sleep(seconds)
        after, passed = [group.statistics() for group in groups], time.monotonic() - start
    return [
        Spent(
            ((b.cpu_usage_us or 0) - (a.cpu_usage_us or 0)) / 1e6 / passed,
            (b.periods or 0) - (a.periods or 0),
            (b.throttled or 0) - (a.throttled or 0),
        )
        for a, b in zip(before, after, strict=True)
    ]


def pressure(resource: str, seconds: float = 1.0) -> Pressure:
    """Microseconds lost on the whole computer in so many seconds: the difference of two totals."""
    before = cgroups.system_pressure(resource)
    time.sleep(seconds)
    after = cgroups.system_pressure(resource)
    return Pressure(after.some_us - before.some_us, after.full_us - before.full_us)
