"""pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2): a process by descriptor, not by number."""

import os
import select
import signal
import subprocess
import sys

import pytest

from labkit.linux import syscalls

pytestmark = pytest.mark.root


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def pidfd(sleeper: subprocess.Popen):
    fd = syscalls.pidfd_open(sleeper.pid)
    yield fd
    os.close(fd)


def test_a_signal_reaches_the_process(sleeper: subprocess.Popen, pidfd: int) -> None:
    syscalls.pidfd_send_signal(pidfd, signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM


def test_a_pidfd_is_readable_when_the_process_ends(sleeper: subprocess.Popen, pidfd: int) -> None:
    assert select.select([pidfd], [], [], 0)[0] == []
    sleeper.kill()
    assert select.select([pidfd], [], [], 10)[0] == [pidfd]


def test_a_process_that_is_gone_is_never_signalled(sleeper: subprocess.Popen, pidfd: int) -> None:
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(ProcessLookupError, match=f"pidfd {pidfd}"):
        syscalls.pidfd_send_signal(pidfd, signal.SIGTERM)


def test_a_descriptor_is_taken_from_another_process() -> None:
    code = "import os; r, w = os.pipe(); os.write(w, b'hello'); print(r, flush=True); os.read(0, 1)"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        theirs = int(other.stdout.readline())
        pidfd = syscalls.pidfd_open(other.pid)
        ours = syscalls.pidfd_getfd(pidfd, theirs)
        try:
            assert os.read(ours, 5) == b"hello"
            assert not os.get_inheritable(ours)
            with pytest.raises(OSError, match="fd 99"):
                syscalls.pidfd_getfd(pidfd, 99)
        finally:
            os.close(ours)
            os.close(pidfd)
