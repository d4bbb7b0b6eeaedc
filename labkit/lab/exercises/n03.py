"""Exercises of notebook 03: the fork bomb, CPU time, memory, and how a whole group is ended."""

import contextlib
import time

from labkit.errors import NotFound
from labkit.lab.exercise import NotYet
from labkit.lab.exercises.n03_cpu import Half, ThreeToOne
from labkit.lab.exercises.n03_memory import Bomb, Leaker, Staged
from labkit.lab.workloads import Work
from labkit.linux import procfs

STILL = "the group stood still"


class Crowd(Staged):
    id = "03.5"
    title = "stop the world, then end it"
    minutes = 4
    task = (
        "In ex.group processes fork all the time: parents end, children go on. Freeze the group,\n"
        "call ex.look() while it stands still, and then end every process in it. Nobody may\n"
        "escape."
    )
    hints = (
        "a signal goes to one process; what you want is a word of the group",
        "freeze(), thaw() and kill() are methods of a group; kill() thaws what it ends",
        "ex.group.freeze(); ex.look(); and one more",
    )
    why = "docker pause is a freezer, and removing a container is this kill: nobody is forgotten"

    def start(self) -> None:
        super().start()
        self.looks: list[str] = []
        self.group = self.world.group("relay")
        self.crowd = Work(self.world, "relay", "relay", 3, 900, group=self.group, seconds=900)
        self.crowd.start()

    def stop(self) -> None:
        if hasattr(self, "group") and self.group.exists:
            self.group.close()
        if hasattr(self, "crowd"):
            self.crowd.stop()
        super().stop()

    def look(self) -> None:
        """Note for the check what the group does now."""
        before = self.group.statistics().cpu_usage_us
        time.sleep(0.2)
        used = self.group.statistics().cpu_usage_us != before
        self.looks.append(self._seen(used=used))
        print(f"[look] {self.looks[-1]}")

    def _seen(self, *, used: bool) -> str:
        if self.group.frozen:
            return "the group was frozen and used CPU time" if used else STILL
        if self._stopped():
            return "processes were stopped by a signal, the group was not frozen"
        return "the group was not frozen"

    def _stopped(self) -> bool:
        states = []
        for pid in self.group.pids():
            with contextlib.suppress(ProcessLookupError):
                states.append(procfs.status(pid)["State"][0])
        return "T" in states

    def verify(self, answer: object) -> str:
        left, frozen = [], False
        with contextlib.suppress(NotFound):
            left, frozen = self.group.pids(recursive=True), self.group.frozen
        if not self.looks:
            again = "" if left else "; ex.reset() gives a fresh crowd"
            raise NotYet(
                f"nobody has looked so far, and {len(left)} processes are in the group{again}"
            )
        if STILL not in self.looks:
            raise NotYet(f"when you looked, {self.looks[-1]}")
        if left and frozen:
            raise NotYet(f"the group is still frozen, with {len(left)} processes in it")
        if left:
            raise NotYet(f"{len(left)} processes are in the group, born while you were busy")
        return "the group stood still, and then nobody was left"


EXERCISES = (Bomb, Half, Leaker, ThreeToOne, Crowd)
