"""Notebook 03, numbers and memory: contain the fork bomb, kill the leaker, spare the database."""

from labkit.cgroups import Cgroup, Limits
from labkit.errors import NotFound
from labkit.lab.exercise import Broken, Exercise, NotYet
from labkit.lab.load_main import MIB
from labkit.lab.workloads import Work, group_of, until
from labkit.linux import procfs


class Staged(Exercise):
    """Knows which groups of the machine were made since the start, and ends them in stop."""

    def start(self) -> None:
        self.machine = self.world
        self.machine.mend(keep=True)
        self.before = {group.name for group in self.machine.cgroup.children()}

    @property
    def made(self) -> list[Cgroup]:
        return [group for group in self.machine.cgroup.children() if group.name not in self.before]

    def stop(self) -> None:
        if hasattr(self, "before") and self.machine.alive:
            for group in self.made:
                group.close()

    def call(self, group: Cgroup) -> str:
        """Its name as the machine's own root would have it."""
        return str(self.world.inner_name(group))

    def need_victim(self) -> None:
        if not self.world.victim.alive or not self.world.victim.ticking(within=5):
            raise Broken("world.victim does not tick any more")


def finite(value: float | None) -> bool:
    return value is not None and value < float("inf")


# ---- 03.1 ------------------------------------------------------------------------


class Bomb(Staged):
    id = "03.1"
    title = "contain the fork bomb"
    minutes = 6
    task = (
        "ex.bomb is a fork bomb that has not been started yet; ex.bomb.pid is its starter. Let it\n"
        "run, ex.bomb.start(), in a group of its own where the kernel refuses it. It wants 64\n"
        "processes, so the limit must be lower. Do not end it. world.victim must go on ticking."
    )
    hints = (
        "the bomb takes neither much memory nor much CPU time: it is the number that hurts",
        "world.group(name, Limits(pids_max=...)); a new process is born in the group of its parent",
        "group.add(ex.bomb.pid), and only then ex.bomb.start()",
    )
    why = "the limit holds for what does not exist yet: nobody has to run after the children"

    def start(self) -> None:
        super().start()
        self.bomb = Work(self.world, "small_bomb", "bomb", 64)

    def stop(self) -> None:
        if hasattr(self, "bomb"):
            self.bomb.stop()
        super().stop()

    def verify(self, answer: object) -> str:
        self.need_victim()
        limited = [group for group in self.made if finite(group.limits().pids_max)]
        if not self.bomb.running:
            raise NotYet(self._not_running(limited))
        home = group_of(self.bomb.program_pid, "pids")
        limit, count = home.limits().pids_max, home.statistics().pids_current or 0
        if not finite(limit):
            where = f"the bomb runs in {self.call(home)}"
            if limited:
                raise NotYet(f"pids_max is set in {self.call(limited[0])}, but {where}")
            raise NotYet(f"{where}, and nothing limits it there: {count} processes are in it")
        if count > (limit or 0):
            raise NotYet(f"the limit of {limit} came too late: {count} processes are in the group")
        self._check_refused(home)
        return "the bomb fills its group, is refused there, and the victim ticks on"

    def _not_running(self, limited: list[Cgroup]) -> str:
        refusing = [group for group in limited if group.statistics().pids_refused]
        if self.bomb.state == "waiting" and refusing:
            limit = refusing[0].limits().pids_max
            return f"it could never start, its starter alone fills a pids_max of {limit}"
        if self.bomb.state == "waiting":
            return "the bomb has not been started"
        if refusing:
            return "it was refused, but it has ended: ex.reset(), and let it run this time"
        return "the bomb is gone, but it was never refused: no group has counted a refusal"

    def _check_refused(self, home: Cgroup) -> None:
        if stray := [pid for pid in self._bombs() if group_of(pid, "pids").name != home.name]:
            raise NotYet(f"{len(stray)} parts of the bomb run outside of {self.call(home)}")
        if not until(lambda: home.statistics().pids_refused):
            limit, count = home.limits().pids_max, home.statistics().pids_current
            raise NotYet(f"never refused: {count} processes in a group that may hold {limit}")
        self.need_victim()

    def _bombs(self) -> list[int]:
        """All that the starter's program has become; parents live, so the tree holds together."""
        found = [self.bomb.program_pid]
        for pid in found:
            try:
                found += procfs.children(pid)
            except (ProcessLookupError, FileNotFoundError):
                continue
        return found


# ---- 03.3 ------------------------------------------------------------------------


class Leaker(Staged):
    id = "03.3"
    title = "kill the leaker, spare the database"
    minutes = 7
    task = (
        "ex.database (a child that holds data) and ex.leaker share the group ex.shared, which has\n"
        "a memory limit. Arrange it so that only the leaker can be killed for want of memory.\n"
        "Then let it leak, ex.leak(). The database must live and answer. Do not end anything\n"
        "yourself."
    )
    hints = (
        "a memory limit belongs to a group: whoever shares the group shares the trouble",
        "world.group(name, Limits(memory_max=..., memory_swap_max=0)), then add(ex.leaker.pid)",
        "32 MiB are enough for the leaker to start and too few for what it wants: 32 << 20",
    )
    why = "one container, one group: its debts are its own. This is what docker run --memory is for"

    def start(self) -> None:
        super().start()
        size = self.draw.mib(40, 64)
        self.world.child("store").stop()
        self.database = self.world.child("store")
        limits = Limits(memory_max=size * MIB, memory_swap_max=0)
        self.shared = self.world.group("shared", limits)
        self.shared.add(self.database.pid)
        self.size = size * MIB * 6 // 10
        self.database.run(f"data = bytearray({self.size})")
        self.leaker = Work(
            self.world, "leak_leaker", "leak", size * 3 // 2, 1000, group=self.shared
        )

    def stop(self) -> None:
        for one in ("leaker", "database"):
            if hasattr(self, one):
                getattr(self, one).stop()
        super().stop()

    def leak(self) -> None:
        """Let the leaker take memory until it has what it wants, or is killed."""
        print(f"[leak] the leaker's end: {self.leaker.start().wait().state}")

    def verify(self, answer: object) -> str:
        if not self.database.alive:
            raise Broken("the database was killed: it held the most memory in the leaker's group")
        if self.database.eval("len(data)") != self.size:
            raise Broken("the database has lost its data")
        if self.leaker.state in ("waiting", "running"):
            raise NotYet("nothing has leaked to the end so far: call ex.leak()")
        if not self.leaker.killed:
            raise NotYet("the leaker got all it wanted and ended by itself: nothing contained it")
        cage, home = self._group(self.leaker.pid), group_of(self.database.pid)
        if f"{home.name}/".startswith(f"{cage.name}/"):
            raise NotYet(
                "the database is alive, but still shares the leaker's limit: as long as the leaker "
                "holds that memory the database gets none"
            )
        if not cage.statistics().oom_kills:
            raise NotYet(
                f"{self.leaker.killed} came from a process and not from the kernel: "
                "oom_kills of the leaker's group is 0"
            )
        return (
            "the leaker was killed at a limit that is not the database's, and the database answers"
        )

    def _group(self, pid: int) -> Cgroup:
        try:
            return group_of(pid)
        except (ProcessLookupError, NotFound):
            raise NotYet("the leaker's starter is gone, so nobody can say where it ran") from None
