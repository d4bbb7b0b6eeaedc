"""`labkit notebooks build`, `run` and `accept`: two notebooks from one source, run when needed."""

import io
import json

import pytest

from labkit.lab import needs
from labkit.lab.notebooks import build, command, execute, navigation, source
from labkit.lab.notebooks.build import load
from labkit.lab.notebooks.execute import NotebookFailed

STEM = "90-fixture"


def rebuild(shelf) -> list[str]:
    said: list[str] = []
    build.build(shelf, [], said.append, lambda done, of: None)
    return said


def edit(shelf, find: str, replace: str) -> None:
    path = shelf.sources("90")[0]
    text = path.read_text()
    assert find in text
    path.write_text(text.replace(find, replace))


def code(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def test_attendee_gets_the_placeholder_and_not_the_solution(built):
    text = code(load(built.attendee(STEM)))
    assert "answer = None" in text and "6 * 7" not in text
    assert "SOLUTION" not in text and "lines(3)" not in text
    assert "def lines(count):\n    ..." in text


def test_solved_notebook_has_the_solution_and_not_the_placeholder(built):
    text = code(load(built.solved(STEM)))
    assert "answer = 6 * 7" in text and "answer = None" not in text
    assert "SOLUTION" not in text and "lines(3)" in text


def test_solutions_are_stored_for_the_exercise(built):
    stored = json.loads(built.solutions("90").read_text())
    assert stored["90.1"] == "answer = 6 * 7"
    assert stored["90.3"] == 'return "\\n" * count'


def test_counts_are_stored_for_the_tests(built):
    counts = json.loads(built.counts.read_text())[STEM]
    assert counts == {
        "cells": 23,
        "exercises": 3,
        "needs": {"bwrap": 1, "root": 1},
        "parameters": 2,
        "predictions": 2,
    }


def test_stored_outputs_name_no_file_of_this_machine(built):
    text = built.solved(STEM).read_text()
    assert str(built.root) not in text and "site-packages" not in text
    assert "execution" not in json.loads(text)["cells"][2]["metadata"]


def test_cell_ids_come_from_the_place(built):
    ids = [cell["id"] for cell in load(built.solved(STEM)).cells]
    assert ids == [f"90-{place:03}" for place in range(1, len(ids) + 1)]
    assert {cell["id"] for cell in load(built.attendee(STEM)).cells} < set(ids)


def test_gated_cell_begins_with_its_guard(built):
    assert '%%needs bwrap\nprint("bwrap is there")' in code(load(built.solved(STEM)))


def test_parameters_are_checked_by_a_generated_cell(built):
    assert 'within("size", size, 1, 9)\none_of("policy"' in code(load(built.attendee(STEM)))


def test_prose_changes_without_a_new_run(shelf):
    edit(shelf, "tell a red test", "tell a very red test")
    assert rebuild(shelf) == [f"{STEM}: code unchanged, outputs kept"]
    assert "very red" in shelf.solved(STEM).read_text()


def test_build_of_the_same_source_writes_nothing(shelf):
    before = shelf.solved(STEM).stat().st_mtime_ns
    rebuild(shelf)
    assert shelf.solved(STEM).stat().st_mtime_ns == before


def test_failing_cell_is_named_and_the_old_notebook_stays(shelf):
    before = shelf.solved(STEM).read_text()
    edit(shelf, 'print("combined", total)', "print(1 / 0)")
    with pytest.raises(NotebookFailed, match=r"cell 90-008: ZeroDivisionError: division by zero"):
        rebuild(shelf)
    assert shelf.solved(STEM).read_text() == before


def test_run_writes_nothing_and_accept_shows_before_it_stores(shelf, capsys, monkeypatch):
    monkeypatch.setenv("PATH", f"{shelf.root / 'bin'}:/usr/bin:/bin")
    root, before = ["--root", str(shelf.root)], shelf.solved(STEM).read_text()
    toylab = shelf.notebooks / "toylab.py"
    toylab.write_text(toylab.read_text().replace("it is right", "it is quite right"))
    saved = shelf.root / "saved.ipynb"
    assert command.main(["run", "90", "--save", str(saved), *root]) == 1
    assert "+[passed] 90.1: it is quite right" in capsys.readouterr().out
    assert shelf.solved(STEM).read_text() == before
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert command.main(["accept", "90", "--from", str(saved), *root]) == 1
    assert shelf.solved(STEM).read_text() == before
    assert command.main(["accept", "90", "--yes", "--from", str(saved), *root]) == 0
    assert "it is quite right" in shelf.solved(STEM).read_text()
    assert "-[passed] 90.1: it is right" in capsys.readouterr().out


def test_cell_that_this_machine_cannot_run_keeps_its_outputs(built, monkeypatch):
    stored = load(built.solved(STEM))
    monkeypatch.setitem(needs.PROBES, "bwrap", (lambda: False, "it is not there"))
    run = execute.normalised(load(built.solved(STEM)))
    gated = next(c for c in run.cells if "bwrap" in c.source)
    assert gated.execution_count is None and gated.outputs == []
    assert execute.keep_gated(run, stored).cells == stored.cells


def test_guard_line_vanishes_where_the_need_is_met(monkeypatch):
    monkeypatch.setitem(needs.PROBES, "bwrap", (lambda: True, ""))
    assert needs.guard(["%%needs bwrap\n", "%%child a\n", "x\n"]) == ["%%child a\n", "x\n"]
    monkeypatch.setitem(needs.PROBES, "bwrap", (lambda: False, "it is not there"))
    assert needs.guard(["%%needs bwrap\n", "x\n"]) == [
        "print('skipped, because it is not there')\n"
    ]
    assert needs.guard(["x\n"]) == ["x\n"]


def test_navigation_links_to_the_neighbours(built):
    one = source.read(*built.sources("90"))
    other = source.Source("91-next", one.header, [])
    first, last = (navigation.framed(one, [one, other])[place].source for place in (0, -1))
    assert first.startswith("# 90 · A fixture\n\n**10 minutes** · fast track 5 minutes")
    assert "needs root" in first and "[91 A fixture](91-next.ipynb) →" in last
    back = navigation.framed(other, [one, other])
    assert "← [90 A fixture](90-fixture.ipynb)" in back[0].source
    assert "You have reached the last notebook" in back[-1].source


def test_heading_of_the_fast_track_says_so(built):
    headings = [c.source for c in load(built.attendee(STEM)).cells if c.source.startswith("## ")]
    assert headings == ["## Numbers · *fast track*"]
