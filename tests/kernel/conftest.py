"""What the kernel tests share.

pytest's own process never unshares, never forks and never filters itself: each experiment is a
small program in a process of its own, started as labkit's own helpers are (`python -I -S`).
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

import labkit

Program = Callable[..., subprocess.CompletedProcess[str]]

PRELUDE = f"""
import errno, os, signal, socket, sys, time
sys.path.insert(0, {os.path.dirname(os.path.dirname(labkit.__file__))!r})
from labkit.errors import *
from labkit.linux import constants as c, procfs, syscalls
from labkit.linux.constants import *
"""


@pytest.fixture
def program() -> Program:
    """Run a piece of Python in a new process; its last line fails the test unless it exits 0.

    program(code, *argv, code_expected=0): argv arrives as sys.argv[1:], a negative code is a
    signal, None is any. Imported: labkit.errors, constants (also as c), procfs, syscalls, errno, os,
    signal, socket, sys, time.
    """

    def run(code: str, *argv: str, code_expected: int | None = 0) -> subprocess.CompletedProcess:
        text = PRELUDE + textwrap.dedent(code)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", text, *argv],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if code_expected is not None:
            assert done.returncode == code_expected, f"{done.returncode}\n{done.stderr}"
        return done

    return run
