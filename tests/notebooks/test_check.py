"""`labkit notebooks check`: each rule finds what it is for; a fresh build has no problems."""

import pytest

from labkit.errors import InvalidParameter, NotFound
from labkit.lab.notebooks import build, check, source
from labkit.lab.notebooks.command import main
from labkit.lab.notebooks.shelf import Shelf

STEM = "90-fixture"


def edit(shelf: Shelf, find: str, replace: str) -> list[str]:
    """Change the source in one place; what check says then."""
    path = shelf.sources("90")[0]
    text = path.read_text()
    assert text.count(find) == 1, find
    path.write_text(text.replace(find, replace))
    return list(check.check(shelf, []))


def edit_built(shelf: Shelf, path, change) -> list[str]:
    notebook = build.load(path)
    change(notebook)
    build.write(path, notebook)
    return list(check.check(shelf, []))


def test_fresh_build_has_no_problems(built):
    assert list(check.check(built, [])) == []


@pytest.mark.parametrize(
    ("find", "replace", "problem"),
    [
        ('print("combined", total)', "import time; time.sleep(1)", "sleep and hope"),
        ('print("combined", total)', "from IPython.display import clear_output", "clear_output"),
        ('print("combined", total)', "widgets.Output()", "stalls papermill"),
        ('print("combined", total)', "interact(print, x=3)", "take Slider"),
        ('print("combined", total)', "display(1, display_id='x')", "display updates"),
        ('print("combined", total)', "# !ls", "a shell"),
        ('print("combined", total)', "os.unshare(0)", "never forks or unshares"),
        ('print("combined", total)', "a\nb\nc\nd", "has 6 lines, more than 5"),
        ("lab = Toy()", "lab = Toy()\n\n# %%\n" + "\n\n# %%\n".join("abcd"), "26 code cells"),
        ('lab.predict("90.p2"', 'print("90.p2"', "1 predictions, wanted are at least 2"),
        ("# 1..9, how many", "# how many", "neither LOW..HIGH nor a|b"),
        ("size: int = 3", "size: int = 30", "its own default: size is 30"),
        ('["needs:root"]', '["needs-root"]', "unknown tag 'needs-root'"),
        ('# %% tags=["solution-only"]', '# %% tags=["raises-exception"]', "write %%fails"),
        ("# ## Numbers", "# # Numbers", "a second title"),
        ("answer = 6 * 7", "answer = 6 * 7 + 0", "solved notebook is not a fresh build"),
        ("### Exercise 90.1 The", "### Exercise 90.1 An", "attendee's notebook is not a fresh"),
    ],
)  # fmt: skip
def test_rule_finds_what_it_is_for(shelf, find, replace, problem):
    problems = edit(shelf, find, replace)
    assert any(problem in line for line in problems), problems


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("pid 4711", "a raw pid or inode"),
        ("uts:[4026531838]", "a namespace's inode"),
        ("<Thing at 0x7f0123456789>", "a memory address"),
        ("/tmp/tmpab12/x", "a temporary path"),
        ("at 12:34:56", "a time of day"),
        ("labkit-0a1b-nb03", "an instance tag"),
        ("6f0e1c52-0c1f-4d6b-a7b0-8a6cf7b0f3a1", "a uuid"),
    ],
)
def test_raw_values_in_outputs_are_found(shelf, output, problem):
    def change(notebook):
        cell = next(c for c in notebook.cells if c.source.startswith("numbers"))
        cell.outputs[0].text = f"combined {output}\n"

    problems = edit_built(shelf, shelf.solved(STEM), change)
    assert any(problem in line for line in problems), problems


def test_output_in_an_attendee_notebook_is_found(shelf):
    def change(notebook):
        notebook.cells[2].execution_count = 1

    problems = edit_built(shelf, shelf.attendee(STEM), change)
    assert any("has outputs or a count" in line for line in problems)


def test_solution_in_an_attendee_notebook_is_found(shelf):
    def change(notebook):
        notebook.cells[1].source += "\n\nPsst: answer = 6 * 7"

    problems = edit_built(shelf, shelf.attendee(STEM), change)
    assert any("holds a line of a solution: 'answer = 6 * 7'" in line for line in problems)


def test_cell_that_never_ran_is_found(shelf):
    def change(notebook):
        cell = next(c for c in notebook.cells if c.source.startswith("numbers"))
        cell.outputs, cell.execution_count = [], None

    problems = edit_built(shelf, shelf.solved(STEM), change)
    assert any("has never run" in line for line in problems)


def test_exercise_that_did_not_pass_is_found(shelf):
    def change(notebook):
        cell = next(c for c in notebook.cells if c.source == "ex.check(answer)")
        cell.outputs[0].text = "[not yet] 90.1: no\n"

    problems = edit_built(shelf, shelf.solved(STEM), change)
    assert any("exercise 90.1 ends with ['not yet']" in line for line in problems)


def test_command_says_the_problems_and_fails(shelf, capsys):
    assert main(["check", "--root", str(shelf.root)]) == 0
    shelf.attendee(STEM).unlink()
    assert main(["check", "90", "--root", str(shelf.root)]) == 1
    assert "not built: labkit notebooks build 90" in capsys.readouterr().out


def test_unknown_notebook_is_named(built):
    with pytest.raises(NotFound, match="no notebook '77'"):
        list(check.check(built, ["77"]))


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ("#     title: A fixture\n", "", "90-fixture.py: the labkit block.* lacks .'title'"),
        ("needs: [root]", "needs: [sudo]", "no need is called 'sudo'"),
        ("#     fast: 5", "#     slow: 5", "unknown .'slow'"),
        ("answer = 6 * 7\n### END", "answer = 6 * 7\n### begin", "has no end"),
        ("size: int = 3  #", "size = 3  #", "is not like 'name: int"),
    ],
)
def test_bad_source_is_one_clear_message(shelf, find, replace, message):
    path = shelf.sources("90")[0]
    text = path.read_text()
    if "begin" in replace:
        replace = replace.replace("### begin", "# end")
    assert find in text
    path.write_text(text.replace(find, replace))
    with pytest.raises(InvalidParameter, match=message):
        one = source.read(path)
        source.parameter_list(one)
