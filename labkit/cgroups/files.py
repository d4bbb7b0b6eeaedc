"""Control files and directories, the same for both versions: cgroups(7).

Here: reading, writing, walking and removing, and the pause between two looks. OSErrors pass as they
are, a write's with its value. Not here: which file means what (labkit.cgroups.v1, v2).
"""

import errno
import os
import time
from collections.abc import Iterator

ROOT = "/sys/fs/cgroup"  #: where cgroup file systems are mounted, cgroups(7)
TIMEOUT = 10.0  #: seconds to wait for what the kernel does soon, but not at once


def read_text(path: str) -> str:
    """A control file's text without the newline at the end."""
    with open(path) as file:
        return file.read().rstrip("\n")


def write(path: str, value: str) -> None:
    """One write(2): the kernel takes a control file's value whole or not at all."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (writing {value!r})", path) from error
    finally:
        os.close(fd)


def flat(text: str) -> dict[str, int]:
    """ "key value" lines, as in cpu.stat and memory.events."""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines())}


def pauses(seconds: float) -> Iterator[None]:
    """For polling: yields at once, then after 1, 2, 4 ... 50 ms, until `seconds` have passed."""
    end, pause = time.monotonic() + seconds, 0.001
    yield
    while time.monotonic() < end:
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
        yield


def tree(directory: str) -> Iterator[str]:
    """`directory` and all below it, children first; nothing if it is gone."""
    for name in subdirectories(directory):
        yield from tree(f"{directory}/{name}")
    yield directory


def subdirectories(directory: str) -> list[str]:
    try:
        return [e.name for e in os.scandir(directory) if e.is_dir(follow_symlinks=False)]
    except OSError as error:  # ENODEV: removed while we were reading
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return []


def members(directory: str) -> list[int]:
    """cgroup.procs; 0 stands for a process that our pid namespace does not show."""
    try:
        with open(f"{directory}/cgroup.procs") as file:
            return [int(line) for line in file if line != "0\n"]
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return []


def remove_directory(directory: str) -> None:
    """rmdir(2); the last member's exit may still hold it for a moment (EBUSY)."""
    for _ in pauses(TIMEOUT):
        try:
            return os.rmdir(directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            busy = error
    raise busy
