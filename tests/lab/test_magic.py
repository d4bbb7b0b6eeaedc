import json
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.root

SHELL = """
import contextlib, io, json
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=config, colors="NoColor")
shell.run_line_magic("load_ext", "labkit.lab")
results = []
for cell in {cells!r}:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        done = shell.run_cell(cell)
    results.append([text.getvalue(), repr(done.error_in_exec) if done.error_in_exec else ""])
print(json.dumps(results))
"""


@pytest.fixture
def cells(python: Callable[[str], str]) -> Callable[..., Any]:
    """Run cells in a fresh IPython; for each [what was printed, repr of the exception]."""

    def run(*cells: str) -> Any:
        text = python(SHELL.format(cells=[textwrap.dedent(cell) for cell in cells]))
        return json.loads(text.splitlines()[-1])

    return run


LAB = "from labkit.lab import Lab; lab = Lab('02')"


def test_the_body_runs_in_the_child_and_its_output_is_printed(cells: Callable[..., Any]) -> None:
    found = cells(
        LAB,
        "%%child a\nx = 1\nunshare(CLONE_NEWUTS); sethostname('mars')",
        "%%child a\nprint(gethostname())\nx",
        "%%child b\ngethostname()",
    )
    assert found[1:] == [["", ""], ["mars\n1\n", ""], ["'machine'\n", ""]]


def test_an_exception_has_its_type_and_no_frames_of_the_kernel(cells: Callable[..., Any]) -> None:
    _, (text, error) = cells(LAB, "%%child a\nprint('before')\nopen('/nowhere')")
    assert error == "FileNotFoundError(2, 'No such file or directory')"
    assert text.splitlines() == [
        "before",
        "  child a, line 2: open('/nowhere')",
        "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'",
    ]


def test_a_cell_may_have_a_time_limit_of_its_own(cells: Callable[..., Any]) -> None:
    _, (_, error) = cells(LAB, "%%child a 0.5\ntime.sleep(30)")
    assert error.startswith("TimeoutError(\"child 'a' was ended after 0.5 s")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%%child", "write %%child NAME"),
        ("%%child a b", "'b' is not a number of seconds"),
        ("%%child ../a", "child name '../a' must be a word"),
    ],
)
def test_a_line_that_cannot_be_is_told(cells: Callable[..., Any], line: str, message: str) -> None:
    _, (_, error) = cells(LAB, f"{line}\n1")
    assert message in error


def test_without_a_lab_the_cell_says_what_to_run_first(cells: Callable[..., Any]) -> None:
    assert "no lab is open" in cells("%%child a\n1")[0][1]


def test_a_syntax_error_in_a_child_is_two_lines(cells: Callable[..., Any]) -> None:
    _, (text, _) = cells(LAB, "%%child a\nx = 1\nx = = 2")
    assert text.splitlines() == [
        "  child a, line 2: x = = 2",
        "SyntaxError: invalid syntax (child a, line 2)",
    ]


def test_a_cell_that_takes_too_long_is_told_in_one_line(cells: Callable[..., Any]) -> None:
    _, (text, _) = cells(LAB, "%%child a 0.2\nsignal.pause()")
    assert text.startswith("TimeoutError: child 'a' was ended after 0.2 s")
    assert len(text.splitlines()) == 1


def test_a_refusal_of_the_kit_is_one_line(cells: Callable[..., Any]) -> None:
    ((text, error),) = cells("from labkit.lab import Lab\nLab('x')")
    assert error.startswith("InvalidParameter(")
    assert text == "InvalidParameter: a notebook number is two digits, such as '02', not 'x'\n"
