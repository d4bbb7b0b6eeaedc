"""An exercise: a stage, a task, a check that looks at the kernel, hints, a solution.

What an author writes is a subclass with texts and start, verify, stop. What a learner calls is
check, hint, solution, reset. A check prints one of

    [passed] 02.1 alone in the process table: what was seen
    [not yet] 02.1 alone in the process table: a hint built from what was seen
    [broken] 02.1 alone in the process table: what is damaged; ex.reset() gives a fresh stage
    [skipped, because there is no cgroup v2] 02.1 alone in the process table

and never raises, except with LABKIT_STRICT=1, where all but the first do. Skipped is never passed.
"""

import json
import os
from enum import Enum
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, final

from labkit.errors import LabkitError
from labkit.lab import settings
from labkit.lab.draw import Draw
from labkit.linux import procfs

if TYPE_CHECKING:
    from labkit.lab.lab import Lab
    from labkit.lab.progress import Progress

T = TypeVar("T")


class Verdict(Enum):
    PASSED = "passed"
    NOT_YET = "not yet"
    BROKEN = "broken"
    SKIPPED = "skipped"


class NotYet(Exception):
    """The answer is not right; the text says what was seen, never the answer."""


class Broken(Exception):
    """Something outside the task was damaged; the text says what."""


class Skipped(Exception):
    """The exercise cannot run here; the text goes on from "because"."""


class NotPassed(LabkitError):
    """LABKIT_STRICT=1 and a check did not pass."""


class _Todo:
    """Stands where the learner writes an answer."""

    def __repr__(self) -> str:
        return "TODO"

    def __bool__(self) -> bool:
        return False


TODO = _Todo()
_NO_ANSWER = object()


class Exercise:
    """Base class. Authors set the texts and override start, verify and stop."""

    id: ClassVar[str]
    title: ClassVar[str]
    minutes: ClassVar[int]
    task: ClassVar[str]
    #: where to look, which call, a worked fragment
    hints: ClassVar[tuple[str, str, str]]
    #: shown after the pass
    why: ClassVar[str] = ""

    def __init__(self, lab: "Lab", progress: "Progress", draw: Draw) -> None:
        self.lab, self.progress, self.draw = lab, progress, draw
        self.verdict: Verdict | None = None
        self._hints_shown = 0
        self._stage = "not set"
        self._obstacle: Exception | None = None

    # ---- what authors override ----

    def start(self) -> None:
        """Set the stage: take baselines, start what the learner works on."""

    def verify(self, answer: Any) -> str:
        """What was seen, when the answer is right; else raise NotYet, Broken or Skipped.

        The text is compared between runs: no drawn value, pid, inode or time in it.
        """
        raise NotImplementedError(f"{type(self).__name__}.verify")

    def stop(self) -> None:
        """Undo start; called before a new start, at reset and at the end of the kernel."""

    # ---- what authors use ----

    @property
    def world(self) -> Any:
        """The sandbox world, started at first use."""
        return self.lab.world()

    def need(self, answer: object, kind: type[T]) -> T:
        """The answer, if it is of this type; else NotYet with the value."""
        if answer is None:
            raise NotYet("ex.check() got no answer: put it between the brackets")
        if not isinstance(answer, kind) or (isinstance(answer, bool) and kind is not bool):
            seen = f"{answer!r} is of type {type(answer).__name__}"
            raise NotYet(f"the answer should be of type {kind.__name__}; {seen}")
        return answer

    def need_process(self, answer: object) -> int:
        """The pid of a live process: the answer itself or its .pid; else NotYet."""
        pid = self.need(getattr(answer, "pid", answer), int)
        if pid <= 0 or not procfs.alive(pid):
            raise NotYet(f"no live process has the number {pid}")
        return pid

    # ---- what learners call ----

    @final
    def check(self, answer: Any = _NO_ANSWER) -> None:
        """Look at the kernel and print the verdict; the answer is what the task asks for."""
        self.verdict, text, why = self._judge(answer)
        passed = self.verdict is Verdict.PASSED
        before = self.progress.exercise(self.id)
        changes = {"attempts": before["attempts"] + 1, "passed": before["passed"] or passed}
        self.progress.mark(self.id, changes)
        line = self._line(self.verdict, text)
        print(line)
        if passed and why:
            print(f"    why it matters: {why}")
        if not passed and before["passed"]:
            print("    you have passed this exercise before, and that is kept")
        if not passed and settings.strict():
            raise NotPassed(line)

    @final
    def hint(self) -> None:
        """The next of three hints; the last one is repeated."""
        self._hints_shown = min(self._hints_shown + 1, len(self.hints))
        read = max(self._hints_shown, self.progress.exercise(self.id)["hints"])
        self.progress.mark(self.id, {"hints": read})
        text = self.hints[self._hints_shown - 1]
        print(f"[hint {self._hints_shown} of {len(self.hints)}] {self.id} {self.title}: {text}")
        if self._hints_shown == len(self.hints):
            print("    that was the last one: ex.solution() shows one way to do it")

    @final
    def solution(self) -> None:
        """One right answer, after a pass or after all hints."""
        mark = self.progress.exercise(self.id)
        if not mark["passed"] and mark["hints"] < len(self.hints):
            read = f"{mark['hints']} of {len(self.hints)} hints read"
            print(f"[not yet] {self.id}: the solution opens after a pass or all hints; {read}")
            return
        text = solution_text(self.id)
        if text is None:
            print(f"[note] {self.id}: no solution is packed: run `labkit notebooks build`")
            return
        self.progress.mark(self.id, {"solution": True})
        print(f"[solution] {self.id} {self.title}, one of several ways:")
        print(text.rstrip())

    @final
    def reset(self) -> None:
        """A fresh stage; attempts and hints stay counted."""
        self.close()
        self._set_stage()
        if self._stage == "set":
            print(f"[reset] {self.id} {self.title}: a fresh stage is set")

    # ---- what the lab calls ----

    @final
    def open(self) -> None:
        """Set the stage and print the task."""
        print(f"{self.id} {self.title} ({self.minutes} minutes)")
        print(self.task)
        self._set_stage()

    @final
    def close(self) -> None:
        """Stop whatever start began; safe to call at any time and twice."""
        if self._stage != "set":
            return
        self._stage = "stopped"
        try:
            self.stop()
        except Exception as error:  # one exercise's clean-up must not keep others from theirs
            print(f"[note] {self.id}: stopping left something behind ({describe(error)})")

    def _set_stage(self) -> None:
        self._stage, self._obstacle = "set", None
        try:
            self.start()
        except Exception as error:  # becomes the verdict of every check until reset
            self.close()
            self._obstacle = error
            verdict, text, _ = self._about(error, "setting the stage")
            print(self._line(verdict, text))

    def _judge(self, answer: Any) -> tuple[Verdict, str, str]:
        if self._obstacle:
            return self._about(self._obstacle, "setting the stage")
        if self._stage != "set":
            where = f'run the cell with lab.exercise("{self.id}") first'
            return Verdict.NOT_YET, f"the stage is {self._stage}: {where}", ""
        if _unwritten(answer):
            return Verdict.NOT_YET, "nothing was written here so far", ""
        try:
            seen = self.verify(None if answer is _NO_ANSWER else answer)
        except Exception as error:  # an outcome like any other, never a bare traceback
            return self._about(error, "the check")
        return Verdict.PASSED, seen, self.why

    def _about(self, error: Exception, during: str) -> tuple[Verdict, str, str]:
        known = {NotYet: Verdict.NOT_YET, Broken: Verdict.BROKEN, Skipped: Verdict.SKIPPED}
        for kind, verdict in known.items():
            if isinstance(error, kind):
                return verdict, str(error), ""
        return Verdict.BROKEN, f"{during} stopped at {describe(error)}", ""

    def _line(self, verdict: Verdict, text: str) -> str:
        if verdict is Verdict.SKIPPED:
            return f"[skipped, because {text}] {self.id} {self.title}"
        after = "; ex.reset() gives a fresh stage" if verdict is Verdict.BROKEN else ""
        return f"[{verdict.value}] {self.id} {self.title}: {text}{after}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        state = "no check yet" if self.verdict is None else self.verdict.value
        return {"text/plain": f"{self.id} {self.title}: {state}"}


def describe(error: BaseException) -> str:
    """An exception in one line: its type, its text, the file or value it was about."""
    return f"{type(error).__name__}: {error}".rstrip(": ").replace(os.linesep, " / ")


def _unwritten(answer: object) -> bool:
    if isinstance(answer, dict):
        return any(map(_unwritten, answer.values()))
    if isinstance(answer, list | tuple | set | frozenset):
        return any(map(_unwritten, answer))
    return answer is TODO or answer is Ellipsis


def solution_text(id: str) -> str | None:
    """The packed solution of an exercise: labkit/lab/solutions/NN.json, id -> source text."""
    number = id.partition(".")[0]
    file = resources.files("labkit.lab").joinpath("solutions", f"{number}.json")
    try:
        texts: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return texts.get(id)
