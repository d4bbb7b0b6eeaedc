"""Exercises of notebook 00: heal the machine, look before you trust a name, reset exactly."""

import os

from labkit import cgroups
from labkit.lab.exercise import Broken, Exercise, NotYet
from labkit.lab.leftovers import leftovers
from labkit.lab.planted import Neighbour, companion, exists, noted
from labkit.linux import procfs


class Heal(Exercise):
    id = "00.1"
    title = "heal the machine"
    minutes = 4
    task = (
        "A program made cgroups and was killed. The doctor is red on one line: leftovers.\n"
        "Make it green. Another program of the kit is alive and must keep what it has."
    )
    hints = (
        "the doctor's red line names its own fix; the cells above show the same fix as a function",
        "labkit.lab.reset.reset(instance) reads the ledger and removes what dead owners left",
        "reset(lab.instance)",
    )
    why = "a clean-up by exact names harms nobody, so you can run it whenever you like"

    def start(self) -> None:
        names = [self.draw.name(), self.draw.name()]
        self.dead = Neighbour(self.lab.instance, f"{self.lab.owner}-visitor", names)
        self.dead.die()
        self.living = Neighbour(
            self.lab.instance, f"{self.lab.owner}-neighbour", [self.draw.name()]
        )

    def verify(self, answer: object) -> str:
        if not self.living.alive or not self.living.present():
            raise Broken(f"{self.living.groups[0]} belonged to a live process and is gone")
        if present := self.dead.present():
            if noted(self.lab.instance, self.dead.owner):
                raise NotYet(f"the doctor is still red, the kernel has {', '.join(present)}")
            raise NotYet(
                f"the note was deleted, but the kernel still has {', '.join(present)}; "
                "ex.reset() writes it again"
            )
        if any(one.owner == self.dead.owner for one in leftovers(self.lab.instance)):
            raise NotYet("the doctor still finds something of the dead program")
        return "what the dead program left is gone, what the living one has is untouched"

    def stop(self) -> None:
        for program in ("dead", "living"):
            if hasattr(self, program):
                getattr(self, program).close()


#: a child of ours that has a child of its own; both sleep under a name that tells nothing
_FAMILY = """
import os, sys, time
first, second = sys.argv[1:]
pid = os.fork()
open("/proc/self/comm", "w").write(first if pid else second)
if pid:
    print(pid, flush=True)
    sys.stdin.read()
    os.kill(pid, 9)
else:
    time.sleep(600)
"""


class Relatives(Exercise):
    id = "00.2"
    title = "say it before you see it"
    minutes = 3
    task = (
        "ex.processes maps three names to process numbers. Exactly one of them was started\n"
        "by the Python process of this notebook. Guess first, then look, then answer with its name."
    )
    hints = (
        "every process knows who started it; /proc has a directory for each process number",
        "the field PPid of /proc/PID/status is the number of the parent, proc(5)",
        'procfs.status(pid)["PPid"] is a text: compare int() of it with os.getpid()',
    )
    why = "names and numbers are labels; the kernel's own relation is what counts everywhere"

    def start(self) -> None:
        mine, grandchild, stranger = (self.draw.name() for _ in range(3))
        self.family, below = companion(_FAMILY, mine, grandchild)
        pids = {mine: self.family.pid, grandchild: int(below), stranger: os.getppid()}
        self.processes = {name: pids[name] for name in self.draw.shuffled(list(pids))}

    def verify(self, answer: object) -> str:
        name = self.need(answer, str)
        if name not in self.processes:
            raise NotYet(f"{name!r} is none of {', '.join(self.processes)}")
        pid = self.need_process(self.processes[name])
        parent = int(procfs.status(pid)["PPid"])
        if pid == os.getppid():
            raise NotYet(f"{name} is the parent of this notebook's process, not its child")
        if parent != os.getpid():
            started_by = procfs.status(parent)["Name"]
            raise NotYet(f"the parent of {name} is {started_by}, not this notebook's process")
        return "its parent is the process of this notebook"

    def stop(self) -> None:
        if hasattr(self, "family"):
            self.family.communicate()


class Mess(Exercise):
    id = "00.3"
    title = "make a mess, reset exactly it"
    minutes = 4
    task = (
        "Make a cgroup named ex.name and note it in lab.ledger. Call ex.look(), so that the check\n"
        "knows it was there. Then reset this notebook, and no other one."
    )
    hints = (
        "the ledger lists what this notebook owns: write down first, then make",
        "lab.ledger.record(kind, name), cgroups.create(name), lab.reset(only=kind)",
        'cgroups.create(lab.ledger.record("cgroup", ex.name)); ex.look(); lab.reset(only="cgroup")',
    )
    why = "every notebook ends like this: it removes what it wrote down, after a crash too"

    def start(self) -> None:
        self.name = self.lab.instance.name(self.draw.name())
        self.seen: set[str] = set()
        self.other = Neighbour(self.lab.instance, f"{self.lab.owner}-other", [self.draw.name()])

    def look(self) -> None:
        """Note what is there now, for the check."""
        in_ledger = any(entry.name == self.name for entry in self.lab.ledger.entries)
        found = {"the kernel": exists(self.name), "the ledger": in_ledger}
        self.seen |= {place for place, there in found.items() if there}
        for place, there in found.items():
            print(f"[look] {place} {'has' if there else 'does not have'} the group")

    def verify(self, answer: object) -> str:
        if not self.other.alive or not self.other.present():
            raise Broken("what the other notebook had is gone too")
        if missing := {"the kernel", "the ledger"} - self.seen:
            raise NotYet(
                f"{' and '.join(sorted(missing))} never had {self.name} when you looked: "
                "ex.look() belongs between making and resetting"
            )
        if exists(self.name):
            raise NotYet(f"the kernel still has {self.name}: its directory is there")
        if any(entry.name == self.name for entry in self.lab.ledger.entries):
            raise NotYet(f"the group is gone, but the ledger still lists {self.name}")
        return (
            "the group was there and noted, and is gone from both; the other notebook kept its own"
        )

    def stop(self) -> None:
        if hasattr(self, "other"):
            self.other.close()
        if exists(self.name):
            with cgroups.open(self.name):
                pass
        self.lab.ledger.forget("cgroup", self.name)


EXERCISES = (Heal, Relatives, Mess)
