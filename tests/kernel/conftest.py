"""What the kernel tests share.

pytest's own process never unshares, never forks and never filters itself: each experiment is a
small program in a process of its own, started as labkit's own helpers are (`python -I -S`).
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

import labkit
from labkit import cgroups
from labkit.paths import Instance

Member = Callable[[cgroups.Cgroup, str], subprocess.Popen[str]]
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
    """Run a piece of Python in a new process; the test fails unless it exits with 0.

    program(code, *argv, code_expected=0): argv arrives as sys.argv[1:], a negative code is a
    signal, None is any. PRELUDE shows what is imported.
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


@pytest.fixture
def member() -> Iterator[Member]:
    """member(group, code): a new process that runs `code` once it is in the group.

    Imported: os, signal, sys, time. Its stdin is still open, so sys.stdin.readline() waits; what it
    prints is read from .stdout. It ends by itself after a minute, and with the test.
    """
    started: list[subprocess.Popen[str]] = []

    def start(group: cgroups.Cgroup, code: str) -> subprocess.Popen[str]:
        text = "import os, signal, sys, time\nsignal.alarm(60)\nsys.stdin.readline()\n"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", text + textwrap.dedent(code)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        started.append(process)
        group.add(process.pid)
        print(file=process.stdin, flush=True)
        return process

    yield start
    for process in started:
        process.kill()
        with process:
            process.wait()


@pytest.fixture
def group(member: Member) -> Iterator[cgroups.Cgroup]:
    """A new cgroup of this test's own; whatever is in it at the end is killed and removed.

    It ends before the members are waited for: a frozen process on v1 does not die before.
    """
    with cgroups.create(Instance().name(f"test{os.getpid()}")) as group:
        yield group
