"""notebooks/conftest.py: what nbval alone would miss is red, and what is right is green.

One run of nbval over many copies of the fixture notebook, each with another fault.
"""

import json

import pytest

from labkit.lab.notebooks.build import load, never_run, write
from labkit.lab.notebooks.check import strip
from tests.notebooks.sabotage import (
    Mutation,
    Verdicts,
    cell_with,
    mutated,
    nbval,
    place_of,
    prepare,
    shows,
)

STEM = "90-fixture"
WRONG_NUMBER = Mutation(STEM, "sum(numbers)", "sum(numbers) + 1", "the result")

#: copies with faults in cells that do not depend on each other; the stored outputs stay
FAULTS = {
    "91-some": (
        WRONG_NUMBER,
        Mutation(STEM, "a child speaks", "a child shouts", "what a child printed"),
        Mutation(STEM, "raise PermissionError(1,", "_ = (1,", "the exception"),
    ),
    "91-more": (
        Mutation(STEM, '"total", total', '"total", -total', "a recorded value"),
        Mutation(STEM, '(1, "Operation', '(2, "Operation', "the text of the exception"),
        Mutation(STEM, "ex.check(colour)", "import os; os._exit(9)", "the kernel"),
    ),
}
EACH = [pytest.param(name, fault, id=fault.breaks) for name in FAULTS for fault in FAULTS[name]]


@pytest.fixture(scope="module")
def verdicts(built, tmp_path_factory) -> Verdicts:
    root = tmp_path_factory.mktemp("machinery")
    solved = root / "notebooks/solved"
    (root / "notebooks").mkdir()
    for name in ("toylab.py", f"{STEM}.ipynb"):
        (root / "notebooks" / name).write_text((built.notebooks / name).read_text())
    right = load(built.solved(STEM))
    write(solved / f"{STEM}.ipynb", right)
    for name, faults in FAULTS.items():
        broken = right
        for fault in faults:
            broken = mutated(broken, fault)
        write(solved / f"{name}.ipynb", broken)
    write(solved / "91-stripped.ipynb", strip(right))
    return nbval(root, {"PATH": "/nonexistent"})


def test_right_notebook_is_green(verdicts):
    assert set(verdicts.of(STEM)) == {"passed", "skipped"}
    assert f"{STEM}: 22 cells executed and compared" in verdicts.text


def test_what_a_child_prints_is_compared(verdicts, built):
    right = load(built.solved(STEM))
    place = cell_with(right, "a child speaks")
    assert right.cells[place].outputs[0].text == "a child speaks\n"
    assert verdicts.cells[STEM, place_of(right, place)] == "passed"


@pytest.mark.parametrize(("name", "fault"), EACH)
def test_fault_is_red_in_its_cell(verdicts, built, name, fault):
    right = load(built.solved(STEM))
    assert verdicts.cells[name, place_of(right, shows(right, fault))] == "failure"


def test_cells_without_a_fault_stay_green(verdicts):
    assert verdicts.of("91-some").count("failure") == 4  # the wrong number is recorded too


def test_dead_kernel_is_noticed_at_once(verdicts):
    reasons = [text for (name, _), text in verdicts.reasons.items() if name == "91-more"]
    assert any("the kernel died" in text for text in reasons)
    assert verdicts.of("91-more")[-1] == "failure"


def test_stripped_notebook_is_red_everywhere(verdicts):
    assert set(verdicts.of("91-stripped")) == {"error", "skipped"}
    assert verdicts.of("91-stripped").count("skipped") == 1


def test_run_with_a_fault_fails(verdicts):
    assert verdicts.status == 1


def test_attendee_notebook_is_reported_as_not_compared(verdicts):
    assert "not compared: an attendee's notebook has no outputs" in verdicts.text


def test_unmet_need_is_skipped_with_its_reason(verdicts):
    reasons = "".join(text for key, text in verdicts.reasons.items() if key[0] == STEM)
    assert "skipped, because bwrap is not installed" in reasons


def test_unmet_need_is_red_in_ci(shelf, without_bwrap):
    run = nbval(shelf.root, {**without_bwrap, "CI": "true"})
    assert run.status == 1 and "this machine must have what the cell needs: bwrap" in run.text


def test_too_few_executed_cells_are_red(shelf, with_bwrap):
    counts = json.loads(shelf.counts.read_text())
    counts[STEM]["cells"] += 1
    counts["95-lost"] = counts[STEM]
    shelf.counts.write_text(json.dumps(counts))
    run = nbval(shelf.root, {**with_bwrap, "CI": "true"})
    assert set(run.of(STEM)) == {"passed"}
    assert f"{STEM}: 23 cells were executed, 24 should be" in run.text
    assert "95-lost: 0 cells were executed" in run.text
    assert run.status == 1


def test_met_need_is_executed(built):
    assert never_run(load(built.solved(STEM))) == []


def test_only_the_red_copy_of_a_cut_fails(built, tmp_path):
    later = Mutation(STEM, "range(1, size", "range(2, size", "what is seen later", "lab.record(")
    faults = [WRONG_NUMBER, later]
    numbers = prepare(load(built.solved(STEM)), faults, tmp_path / "notebooks/solved")
    (tmp_path / "notebooks/toylab.py").write_text((built.notebooks / "toylab.py").read_text())
    run = nbval(tmp_path)
    assert run.of(f"{STEM}-green") == ["passed"] * 6
    for number, place in enumerate(numbers):
        assert run.cells[f"{STEM}-red{number}", place] == "failure"
    assert run.of(f"{STEM}-red0").count("failure") == 1
