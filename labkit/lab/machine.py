"""What the doctor looks at: one method for each look at this machine, so a test can lie in one.

Only looking; what an observation means, and what to do about it, is in labkit.lab.doctor.
"""

import contextlib
import errno
import os
import shutil
import socket
import sys

from labkit.linux import procfs, syscalls
from labkit.paths import Instance


class Machine:
    """This machine and one instance of labkit on it."""

    def __init__(self, instance: Instance | None = None) -> None:
        self.instance = instance or Instance()

    def uid(self) -> int:
        return os.geteuid()

    def python(self) -> tuple[int, ...]:
        return sys.version_info[:3]

    def text(self, path: str) -> str | None:
        """The text of a small file; None when it is not there."""
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
            return file.read().strip()
        return None

    def namespaces(self) -> list[str]:
        return list(procfs.namespaces())

    def mounts(self) -> list[procfs.MountInfo]:
        return procfs.mountinfo()

    def has_syscall(self, name: str) -> bool:
        """Does the kernel know pidfd_open or fsopen? Anything but ENOSYS says that it does."""
        try:
            if name == "pidfd_open":
                os.close(syscalls.pidfd_open(os.getpid()))
            else:
                os.close(syscalls.fsopen("tmpfs"))
        except OSError as error:
            return error.errno != errno.ENOSYS
        return True

    def cgroups(self) -> tuple[str, set[str]]:
        """The version and its controllers; labkit.errors.Unsupported when nothing is mounted."""
        from labkit import cgroups

        version = cgroups.detect()
        if version == "v2":
            return version, set((self.text("/sys/fs/cgroup/cgroup.controllers") or "").split())
        words = {w for m in self.mounts() if m.fstype == "cgroup" for w in m.super_options}
        return version, words & {"memory", "cpu", "pids", "blkio", "freezer", "cpuset", "devices"}

    def upper_obstacle(self, path: str) -> str:
        """Why an overlay's upper directory cannot lie here; empty when it can."""
        from labkit import overlay

        return overlay.supports_upper(path).reason

    def file_system(self, path: str) -> str:
        """The type of the file system that holds `path`."""
        below = [m for m in self.mounts() if path == m.point or _is_below(path, m.point)]
        return max(below, key=lambda m: len(m.point)).fstype if below else "unknown"

    def space(self, path: str) -> tuple[int, int | None]:
        """Free bytes and free inodes where `path` lies; None where inodes are not counted."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None

    def existing(self, path: str) -> str:
        """path, or the nearest directory above it that is there."""
        while not os.path.isdir(path) and path != "/":
            path = os.path.dirname(path)
        return path

    def tool(self, name: str) -> str | None:
        """The full name of a program, also where a user's PATH does not look."""
        return shutil.which(
            name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
        )

    def is_file(self, path: str) -> bool:
        return os.path.isfile(path)

    def port_is_free(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True


def _is_below(path: str, point: str) -> bool:
    return path.startswith(point.rstrip("/") + "/")
