from collections.abc import Callable

import pytest

from labkit.errors import NotFound
from labkit.lab import TODO, Lab, exercise
from labkit.lab.exercise import NotPassed, Verdict
from labkit.paths import Instance

Count = type[exercise.Exercise]
Out = pytest.CaptureFixture[str]


def started(out: Out) -> exercise.Exercise:
    one = Lab("02").exercise("02.1")
    out.readouterr()
    return one


def test_exercise_prints_title_minutes_and_task(seat: Instance, count: Count, capsys: Out) -> None:
    Lab("02").exercise("02.1")
    assert capsys.readouterr().out == "02.1 count to three (2 minutes)\nGive the number three.\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (3, "[passed] 02.1 count to three: three it is\n    why it matters: numbers matter"),
        (4, "[not yet] 02.1 count to three: 4 is not what was asked for"),
        (
            "three",
            "[not yet] 02.1 count to three: the answer should be of type int; "
            "'three' is of type str",
        ),
        (
            True,
            "[not yet] 02.1 count to three: the answer should be of type int; True is of type bool",
        ),
        (TODO, "[not yet] 02.1 count to three: nothing was written here so far"),
        ([1, TODO], "[not yet] 02.1 count to three: nothing was written here so far"),
        ({"a": ...}, "[not yet] 02.1 count to three: nothing was written here so far"),
        (
            "damage",
            "[broken] 02.1 count to three: the neighbour died; ex.reset() gives a fresh stage",
        ),
        ("no cgroup2", "[skipped, because there is no cgroup v2 here] 02.1 count to three"),
        (
            "crash",
            "[broken] 02.1 count to three: the check stopped at FileNotFoundError: [Errno 2] "
            "No such file or directory: '/proc/4242/ns/pid'; ex.reset() gives a fresh stage",
        ),
    ],
)
def test_check_prints_its_verdict(
    seat: Instance, count: Count, capsys: Out, answer: object, line: str
) -> None:
    started(capsys).check(answer)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.parametrize("answer", [TODO, 4, "damage", "no cgroup2", "crash"])
def test_strict_mode_raises_what_was_printed(
    seat: Instance, count: Count, capsys: Out, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setenv("LABKIT_STRICT", "1")
    one = started(capsys)
    with pytest.raises(NotPassed) as caught:
        one.check(answer)
    assert capsys.readouterr().out == f"{caught.value}\n"


def test_strict_mode_lets_a_pass_pass(
    seat: Instance, count: Count, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STRICT", "1")
    one = started(capsys)
    one.check(3)
    assert one.verdict is Verdict.PASSED


def test_attempts_are_counted_and_a_pass_is_kept(seat: Instance, count: Count, capsys: Out) -> None:
    one = started(capsys)
    one.check(4)
    one.check(3)
    one.check(4)
    mark = Lab("02").progress.exercise("02.1")
    assert (mark["attempts"], mark["passed"]) == (3, True)


def test_hints_climb_a_ladder_and_the_last_is_repeated(
    seat: Instance, count: Count, capsys: Out
) -> None:
    one = started(capsys)
    for _ in range(4):
        one.hint()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[hint")]
    assert lines == [
        "[hint 1 of 3] 02.1 count to three: look at your hand",
        "[hint 2 of 3] 02.1 count to three: count fingers",
        "[hint 3 of 3] 02.1 count to three: answer = 2 + ...",
        "[hint 3 of 3] 02.1 count to three: answer = 2 + ...",
    ]
    assert Lab("02").progress.exercise("02.1")["hints"] == 3


def test_solution_opens_after_all_hints_or_a_pass(
    seat: Instance, count: Count, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exercise, "solution_text", lambda id: "answer = 3\n")
    one = started(capsys)
    one.hint()
    one.solution()
    assert "1 of 3 hints read" in capsys.readouterr().out
    assert not Lab("02").progress.exercise("02.1")["solution"]
    one.hint()
    one.hint()
    one.solution()
    assert capsys.readouterr().out.endswith("one of several ways:\nanswer = 3\n")
    assert Lab("02").progress.exercise("02.1")["solution"]


def test_solution_that_is_not_packed_is_said(
    seat: Instance, count: Count, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exercise, "solution_text", lambda id: None)
    one = started(capsys)
    one.check(3)
    one.solution()
    assert "no solution is packed" in capsys.readouterr().out


def test_no_solution_text_for_an_unknown_exercise() -> None:
    assert exercise.solution_text("99.9") is None


def test_reset_gives_a_fresh_stage(seat: Instance, count: Count, capsys: Out) -> None:
    one = started(capsys)
    one.reset()
    assert (count.started, count.stopped) == (2, 1)  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "[reset] 02.1 count to three: a fresh stage is set\n"


def test_second_run_of_the_start_cell_stops_the_first(
    seat: Instance, count: Count, capsys: Out
) -> None:
    first = started(capsys)
    started(capsys)
    assert (count.started, count.stopped) == (2, 1)  # type: ignore[attr-defined]
    first.check(3)
    assert 'the stage is stopped: run the cell with lab.exercise("02.1") first' in (
        capsys.readouterr().out
    )


def test_check_before_start_says_what_to_run(seat: Instance, count: Count, capsys: Out) -> None:
    lab = Lab("02")
    count(lab, lab.progress, lab.draw("02.1")).check(3)
    assert "[not yet] 02.1 count to three: the stage is not set: run the cell" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            exercise.Skipped("qemu is missing"),
            "[skipped, because qemu is missing] 02.1 count to three",
        ),
        (
            PermissionError(1, "Operation not permitted", "/x"),
            "[broken] 02.1 count to three: setting the stage stopped at PermissionError: "
            "[Errno 1] Operation not permitted: '/x'; ex.reset() gives a fresh stage",
        ),
    ],
)
def test_stage_that_cannot_be_set_is_the_verdict(
    seat: Instance,
    count: Count,
    capsys: Out,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    line: str,
) -> None:
    def fail(self: exercise.Exercise) -> None:
        raise error

    monkeypatch.setattr(count, "start", fail)
    one = Lab("02").exercise("02.1")
    assert capsys.readouterr().out.splitlines()[-1] == line
    one.check(3)
    assert capsys.readouterr().out.splitlines() == [line]
    assert not Lab("02").progress.exercise("02.1")["passed"]
    assert count.stopped == 1  # type: ignore[attr-defined]


def test_failing_stop_is_a_note_and_not_the_end(
    seat: Instance, count: Count, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: exercise.Exercise) -> None:
        raise OSError(16, "Device or resource busy", "/x")

    monkeypatch.setattr(count, "stop", fail)
    one = started(capsys)
    one.reset()
    out = capsys.readouterr().out
    assert "[note] 02.1: stopping left something behind (OSError: [Errno 16]" in out
    assert "a fresh stage is set" in out


def test_need_process_refuses_the_dead(
    seat: Instance, count: Count, capsys: Out, python: Callable[[str], str]
) -> None:
    one = started(capsys)
    dead = int(python("import os; print(os.getpid())"))
    with pytest.raises(exercise.NotYet, match=f"no live process has the number {dead}"):
        one.need_process(dead)
    with pytest.raises(exercise.NotYet, match="number -1"):
        one.need_process(-1)


def test_unknown_exercises_are_named(seat: Instance, count: Count) -> None:
    with pytest.raises(NotFound, match="no exercise '02.9': there are 02.1"):
        Lab("02").exercise("02.9")
    with pytest.raises(NotFound, match="exercise '03.1' is not one of notebook 02"):
        Lab("02").exercise("03.1")


def test_todo_is_false_and_shows_its_name() -> None:
    assert repr(TODO) == "TODO"
    assert not TODO
