"""Lab: what a notebook opens first; it owns all that the notebook makes, and cleans it up.

One per kernel. Lab("02") again, in a second run of the cell, is the same one. What an earlier
kernel of this notebook left when it died is removed at the start, what this one made at its end.
"""

import atexit
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from labkit.errors import Conflict, Forbidden, InvalidParameter, NotFound
from labkit.lab import exercises, settings
from labkit.lab.draw import Draw
from labkit.lab.exercise import Exercise, describe
from labkit.lab.ledger import Ledger, owners
from labkit.lab.names import Names
from labkit.lab.predict import predict, reveal
from labkit.lab.progress import Progress
from labkit.lab.reset import Outcome, reset, summary
from labkit.paths import Instance

if TYPE_CHECKING:
    from labkit.lab.virtualmachine import VirtualMachine
    from labkit.lab.world import World

#: kernels of one notebook that may be open at the same time
SEATS = 9


class Lab:
    """The lab of one notebook, "00" to "99".

    names       aliases for namespaces and processes
    progress    what this learner has done, kept over restarts
    ledger      what this notebook made and has not removed
    instance    where labkit's files lie, and the tag in all its names
    leftovers   what a dead kernel had left, and what became of it
    """

    _current: ClassVar["Lab | None"] = None

    number: str
    owner: str

    def __new__(cls, number: str | int) -> "Lab":
        number = _checked(number)
        current = cls._current
        if current and current._pid == os.getpid():
            if current.number == number:
                return current
            current.close()
        lab = super().__new__(cls)
        lab._open(number)
        cls._current = lab
        return lab

    def _open(self, number: str) -> None:
        self.number, self._pid = number, os.getpid()
        self.instance, self.names, self.progress = Instance(), Names(), Progress()
        self._world: World | None = None
        self._vm: VirtualMachine | None = None
        self._limits = (256, 128)
        self._exercises: dict[str, Exercise] = {}
        self.leftovers: list[Outcome] = []
        self._take_a_seat()
        atexit.register(self.close)

    @classmethod
    def current(cls) -> "Lab":
        """The lab of this kernel; NotFound before the first Lab(...)."""
        if cls._current is None or cls._current._pid != os.getpid():
            raise NotFound("no lab is open: run the cell that says lab = Lab(...) first")
        return cls._current

    def __repr__(self) -> str:
        return f"Lab {self.number}"

    @property
    def seed(self) -> int:
        """What all names, ports and limits are drawn from."""
        return self.progress.seed

    def draw(self, id: str) -> Draw:
        """Values for one purpose, the same at each run of this learner."""
        return Draw(self.seed, id)

    # ---- experiments ----

    def world(self, memory_mib: int | None = None, pids: int | None = None) -> "World":
        """The sandboxed machine, at first use with 256 MiB and 128 processes.

        Started anew when it is gone or when other limits are asked for; None is "as it is".
        """
        from labkit.lab.world import World

        self._check_open()
        wanted = (
            self._limits[0] if memory_mib is None else memory_mib,
            self._limits[1] if pids is None else pids,
        )
        if self._world and self._world.alive and wanted == self._limits:
            return self._world
        if self._world:
            self._world.close()
        self._world = World(
            self.owner,
            memory_mib=wanted[0],
            pids=wanted[1],
            instance=self.instance,
            ledger=self.ledger,
        )
        self._limits = wanted
        return self._world

    def virtual_machine(self, memory_mib: int | None = None) -> "VirtualMachine":
        """The guest that notebook 01 compares with, started at first use, with 128 MiB.

        Started anew when it has ended or when another size is asked for; None is "as it is".
        """
        from labkit.lab.virtualmachine import VirtualMachine

        self._check_open()
        before = self._vm
        wanted = memory_mib or (before.memory_mib if before else 128)
        if before and before.alive and before.memory_mib == wanted:
            return before
        if before:
            before.close()
        self._vm = VirtualMachine(wanted)
        return self._vm

    def predict(self, id: str, question: str, options: Sequence[str], answer: object) -> None:
        """Write down what you expect, before you look; answer is a letter or an option's text."""
        predict(self.progress, id, question, options, answer)

    def reveal(self, id: str, truth: object) -> None:
        """Compare the prediction with what was seen."""
        reveal(self.progress, id, truth)

    def record(self, name: str, value: object) -> None:
        """A value for the report of a batch run."""
        from labkit.lab.record import record

        record(name, value)

    # ---- exercises ----

    def exercise(self, id: str) -> Exercise:
        """Set the stage of one exercise and print its task."""
        self._check_open()
        if id.partition(".")[0] != self.number:
            raise NotFound(f"exercise {id!r} is not one of notebook {self.number}")
        kind = exercises.find(id)
        if before := self._exercises.pop(id, None):
            before.close()
        exercise = self._exercises[id] = kind(self, self.progress, self.draw(id))
        exercise.open()
        return exercise

    # ---- the end ----

    def reset(self, *, only: str | None = None) -> None:
        """Remove everything that this notebook made, exactly; progress is kept.

        `only` takes one kind of object, such as "cgroup", and leaves the rest running.
        """
        before = set(self.ledger.entries)
        ended = "" if only or not self._exercises else f"; ended: {', '.join(self._exercises)}"
        if only is None:
            self._stop_all()
        outcomes = [o for o in reset(self.instance, self.owner, only=only) if o.kept]
        gone = before - set(self.ledger.entries)
        done = [Outcome(self.owner, entry, "removed") for entry in gone]
        print(f"[reset] notebook {self.number}: {summary([*done, *outcomes])}{ended}")

    def close(self) -> None:
        """Remove everything and give up the seat; runs by itself when the kernel ends."""
        if self._pid != os.getpid() or Lab._current is not self:
            return  # a forked child inherits atexit and must not clean up for its parent
        Lab._current = None
        atexit.unregister(self.close)
        self._stop_all()
        outcomes = reset(self.instance, self.owner)
        if kept := [outcome for outcome in outcomes if outcome.kept]:
            print(f"[note] notebook {self.number}: {summary(kept)}; `labkit reset` tries again")
        elif os.path.exists(self.ledger.path) and not self.ledger.entries:
            os.unlink(self.ledger.path)

    def _check_open(self) -> None:
        if Lab._current is not self:
            raise Conflict(f'this lab is closed: run Lab("{self.number}") again')

    def _stop_all(self) -> None:
        from labkit.lab.live import Live

        Live.close_all()
        for exercise in reversed(list(self._exercises.values())):
            exercise.close()
        vm, self._vm = self._vm, None
        if vm:
            vm.close()
        world, self._world = self._world, None
        if world:
            try:
                world.close()
            except Exception as error:  # the ledger still knows what the world was made of
                print(f"[note] the world did not end cleanly ({describe(error)})")

    def _take_a_seat(self) -> None:
        """The first owner name of this notebook that no live kernel has, leftovers removed."""
        seats = [f"nb{self.number}", *(f"nb{self.number}-{n}" for n in range(2, SEATS + 1))]
        try:
            taken = owners(self.instance)
            for seat in (seat for seat in seats if seat in taken):
                self.leftovers += _reset_if_dead(self.instance, seat)
            self.ledger = _first_free(self.instance, seats)
        except PermissionError as error:
            fix = "run JupyterLab as root, or set LABKIT_ROOT and LABKIT_RUN to folders of yours"
            raise Forbidden(f"{error.filename} cannot be used: {fix}") from error
        self.owner = self.ledger.owner
        if self.leftovers and not settings.batch():
            print(f"[note] an earlier kernel of this notebook died: {summary(self.leftovers)}")


def _checked(number: str | int) -> str:
    text = f"{number:02}" if isinstance(number, int) else str(number)
    if len(text) != 2 or not text.isdigit():
        raise InvalidParameter(f"a notebook number is two digits, such as '02', not {number!r}")
    return text


def _reset_if_dead(instance: Instance, owner: str) -> list[Outcome]:
    try:
        return reset(instance, owner)
    except Conflict:
        return []


def _first_free(instance: Instance, seats: Sequence[str]) -> Ledger:
    for seat in seats:
        try:
            return Ledger(instance, seat)
        except Conflict:
            continue
    raise Conflict(f"{len(seats)} kernels of this notebook are open: shut one down")
