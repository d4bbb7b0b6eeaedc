"""Notebook 03, CPU time: half a CPU, and three to one."""

from labkit.cgroups import Cgroup, Statistics
from labkit.lab.exercise import NotYet
from labkit.lab.exercises.n03_memory import Staged, finite
from labkit.lab.meter import Spent, measure
from labkit.lab.workloads import Work, group_of
from labkit.linux import procfs

#: the proof: two fields of Statistics, and the name of the first in the kernel's file cpu.stat
PROOFS = ("throttled", "throttled_us", "nr_throttled")
TINY = 10  #: weights below are rounded too much, on cgroup v1


class Half(Staged):
    id = "03.2"
    title = "half a CPU, proved"
    minutes = 6
    task = (
        "ex.job computes without end once it is started; ex.job.pid is its starter. Make it take\n"
        "half of one CPU, whether anybody else wants the rest or not, and start it with\n"
        "ex.job.start(). Then set answer to the name, in quotes, of the field of\n"
        "group.statistics() that proves that the kernel cut the job short. Its name in the file\n"
        "cpu.stat will do, too."
    )
    hints = (
        "there are two knobs for CPU time: a ceiling, and a share of what several want",
        "Limits(cpu_max=...) is the ceiling; the kernel counts the periods in which it was reached",
        'world.group("half", Limits(cpu_max=0.5)) allows 50 ms in each 100 ms; answer = "thro..."',
    )
    why = "a slow container is often a throttled one, and this counter is the only witness"

    def start(self) -> None:
        super().start()
        self.job = Work(self.world, "half_job", "burn", seconds=120)

    def stop(self) -> None:
        if hasattr(self, "job"):
            self.job.stop()
        super().stop()

    def verify(self, answer: object) -> str:
        if not self.job.running:
            again = "started" if self.job.state == "waiting" else "running any more: start it again"
            raise NotYet(f"the job is not {again}")
        home = group_of(self.job.program_pid, "cpu")
        limit, spent = home.limits().cpu_max, measure(self.world, home)[0]
        if not finite(limit):
            raise NotYet(self._no_ceiling(home, spent))
        if not 0.45 <= (limit or 0) <= 0.55:
            raise NotYet(f"the ceiling of {self.call(home)} is {limit:g} CPUs")
        if not spent.throttled or not 0.3 <= spent.cpus <= 0.65:
            raise NotYet(
                f"the ceiling is right, but the group used {spent.cpus:.2f} CPUs "
                f"and was throttled in {spent.throttled} of {spent.periods} periods"
            )
        self._check_counter(self.need(answer, str).rpartition(".")[2])
        return "half a CPU, and the counter says that the kernel held it back"

    def _check_counter(self, name: str) -> None:
        if name in PROOFS:
            return
        if name not in Statistics.__slots__:
            raise NotYet(
                f"the job has its half, but there is no counter {name!r} in group.statistics(); "
                f"there are {', '.join(Statistics.__slots__)}"
            )
        raise NotYet(f"the job has its half, but {name} does not tell whether it was cut short")

    def _no_ceiling(self, home: Cgroup, spent: Spent) -> str:
        limited = [group for group in self.made if finite(group.limits().cpu_max)]
        if limited:
            seen = limited[0].statistics().throttled
            return (
                f"a ceiling is set in {self.call(limited[0])}, which was throttled {seen} times, "
                f"but the job runs in {self.call(home)}"
            )
        if spent.cpus <= 0.65:
            return (
                f"the job used {spent.cpus:.2f} CPUs, but nothing throttled it: "
                "it has a rival, and without it would take all"
            )
        return f"there is no ceiling: alone on its CPU, the job used {spent.cpus:.2f} of it"


class ThreeToOne(Staged):
    id = "03.4"
    title = "three to one"
    minutes = 5
    task = (
        "ex.a and ex.b both compute without end. Make them compete for one CPU so that a gets\n"
        "three times the CPU time of b, without a ceiling for either. Then start both:\n"
        "ex.a.start(), ex.b.start()."
    )
    hints = (
        "a share counts only where both want the same CPU: two CPUs are one for each",
        'Limits(cpus="0", cpu_weight=...) in a group for each',
        "use numbers around 100, where cgroup v2 starts: 300 and 100. Tiny ones are rounded on v1",
    )
    why = "weights waste nothing: what one does not want the other gets. Ceilings are for promises"

    def start(self) -> None:
        super().start()
        names = ("share_a", "share_b")
        self.a, self.b = (Work(self.world, name, "burn", seconds=120) for name in names)

    def stop(self) -> None:
        for name in ("a", "b"):
            if hasattr(self, name):
                getattr(self, name).stop()
        super().stop()

    def verify(self, answer: object) -> str:
        for name, work in (("a", self.a), ("b", self.b)):
            if not work.running:
                raise NotYet(f"ex.{name} is {work.state}, not running")
        a, b = (group_of(work.program_pid, "cpu") for work in (self.a, self.b))
        if a.name == b.name:
            raise NotYet(f"both are in {self.call(a)}: weights are between groups, not inside one")
        used = measure(self.world, a, b)
        ratio = used[0].cpus / max(used[1].cpus, 1e-6)
        cpus = [procfs.status(w.program_pid)["Cpus_allowed_list"] for w in (self.a, self.b)]
        if cpus[0] != cpus[1] or not cpus[0].isdigit():
            raise NotYet(
                f"a may use CPU {cpus[0]} and b CPU {cpus[1]}: they do not have to share one. "
                f"a got {ratio:.1f} times what b got, and that will not stay so"
            )
        for group in (a, b):
            if finite(limit := group.limits().cpu_max):
                raise NotYet(f"alone {self.call(group)} would still be capped at {limit:g} CPUs")
        if not 2 <= ratio <= 4.5:
            weights = [group.limits().cpu_weight or 0 for group in (a, b)]
            tiny = "; on cgroup v1 so small ones are rounded, take some around 100"
            raise NotYet(
                f"a gets {ratio:.1f} times what b gets, with weights {weights[0]} and {weights[1]}"
                f"{tiny if min(weights) < TINY else ''}"
            )
        return "on one CPU a gets about three times what b gets, and neither has a ceiling"
