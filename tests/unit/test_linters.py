"""ruff, mypy, codespell and shellcheck, as tests. A missing tool is a failure that says the fix."""

import difflib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

#: what codespell does not know or takes for something else
WORDS = "whats,ro,nd,ans,te,fo,hel,wit,ot"


def tool(name: str, fix: str) -> str:
    """Where the tool is: beside this Python first, then in PATH."""
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if not found:
        pytest.fail(f"{name} is not installed; {fix}")
    return found


def tracked(*suffixes: str) -> list[str]:
    """Files under version control with these endings; not the built notebooks."""
    done = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = [name for name in done.stdout.split("\0") if name.endswith(suffixes)]
    return [name for name in names if (ROOT / name).is_file()]


def clean(*command: str) -> None:
    """Run it in the repository; what it says is the failure."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command[:4])}\n{done.stdout}{done.stderr}", pytrace=False)


UV = "run `make setup`, or `uv sync`"
APT = "run `make setup`, or `apt-get install {}`"


def test_ruff_finds_nothing() -> None:
    clean(tool("ruff", UV), "check", "--quiet", *tracked(".py"))


def test_the_code_is_formatted() -> None:
    clean(tool("ruff", UV), "format", "--check", "--quiet", "--force-exclude", *tracked(".py"))


@pytest.mark.parametrize("name", [n for n in tracked(".py") if n.startswith("notebooks/source/")])
def test_the_cells_are_formatted(name: str) -> None:
    """ruff would put a blank into the mark "#~"; "#:~" it leaves alone."""
    source = (ROOT / name).read_text().replace("#~", "#:~")
    command = [tool("ruff", UV), "format", "--no-cache", "--stdin-filename", "cells.py", "-"]
    done = subprocess.run(
        command, cwd=ROOT, input=source, capture_output=True, text=True, check=True
    )
    wrong = difflib.unified_diff(source.splitlines(), done.stdout.splitlines(), name, lineterm="")
    if text := "\n".join(wrong):
        pytest.fail(text, pytrace=False)


def test_the_types_are_right() -> None:
    clean(tool("mypy", UV))


def test_words_are_spelled_right() -> None:
    prose = tracked(".py", ".md", ".sh", ".toml", ".yml", "Makefile", "Vagrantfile")
    clean(tool("codespell", APT.format("codespell")), f"--ignore-words-list={WORDS}", *prose)


def test_shell_scripts_are_sound() -> None:
    scripts = [name for name in tracked("") if is_shell(ROOT / name)]
    command = tool("shellcheck", APT.format("shellcheck"))
    if scripts:
        clean(command, "--exclude=SC2187", "--", *scripts)  # a busybox sh is checked as dash


def is_shell(path: Path) -> bool:
    """Named .sh, or begins with a line for sh, dash or bash."""
    with open(path, "rb") as file:
        first = file.readline(64)
    words = [word.rpartition(b"/")[2] for word in first[2:].split()]
    return path.suffix == ".sh" or (
        first.startswith(b"#!") and any(word in (b"sh", b"dash", b"bash") for word in words)
    )
