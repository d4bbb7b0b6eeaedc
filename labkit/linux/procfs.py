"""Readers of /proc, as proc(5) describes it: text in, small objects out, nothing cached.

A process that is gone raises ProcessLookupError whatever file was asked for.
"""

import contextlib
import errno
import os

#: the eight files of /proc/PID/ns, in the order in which labkit shows them, namespaces(7)
NAMESPACES = ("mnt", "pid", "uts", "ipc", "net", "user", "cgroup", "time")


class MountInfo:
    """One line of /proc/PID/mountinfo.

    id and parent are mount IDs; root is the shown directory inside the file system; point is where
    it is seen; options belong to the mount, super_options to the file system; propagation is the
    list of optional fields, such as ["shared:1"].
    """

    __slots__ = (
        "id", "parent", "device", "root", "point", "options", "propagation", "fstype", "source",
        "super_options",
    )  # fmt: skip

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        number, parent, self.device, root, point, options, *self.propagation = left.split()
        fstype, source, super_options = (right.split(" ", 2) + ["", ""])[:3]
        self.id, self.parent = int(number), int(parent)
        self.root, self.point = _unescape(root), _unescape(point)
        self.fstype, self.source = fstype, _unescape(source)
        self.options = options.split(",")
        self.super_options = super_options.strip().split(",")

    def __repr__(self) -> str:
        return f"<MountInfo {self.fstype} at {self.point}>"


def _unescape(field: str) -> str:
    r"""Undo the octal escapes of mountinfo: a blank is \040 and so on."""
    if "\\" not in field:
        return field
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def read(pid: int | str, name: str) -> str:
    """The text of /proc/`pid`/`name`."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        if os.path.exists(f"/proc/{pid}"):
            raise
        raise _gone(pid) from None
    except ProcessLookupError:  # it went between open and read
        raise _gone(pid) from None


def _gone(pid: int | str) -> ProcessLookupError:
    return ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid))


def _list(pid: int | str, name: str) -> list[str]:
    """The names in the directory /proc/`pid`/`name`."""
    try:
        return os.listdir(f"/proc/{pid}/{name}")
    except (FileNotFoundError, ProcessLookupError):
        raise _gone(pid) from None


def mountinfo(pid: int | str = "self") -> list[MountInfo]:
    """The mounts that `pid` sees, in mount order; the last one at a point is the visible one."""
    return [MountInfo(line) for line in read(pid, "mountinfo").splitlines()]


def status(pid: int | str = "self") -> dict[str, str]:
    """/proc/PID/status as field -> text: PPid, NSpid, Threads, CapEff, Seccomp, ..."""
    pairs = (line.split(":", 1) for line in read(pid, "status").splitlines())
    return {key: value.strip() for key, value in pairs}


def nspid(pid: int | str = "self") -> list[int]:
    """The process's numbers from our pid namespace down to its own innermost one."""
    return [int(n) for n in status(pid)["NSpid"].split()]


def namespaces(pid: int | str = "self") -> dict[str, int]:
    """Namespace kind -> inode number; two processes share a namespace if the inodes are equal."""
    there = _list(pid, "ns")  # an older kernel has fewer kinds
    return {kind: ns_inode(pid, kind) for kind in NAMESPACES if kind in there}


def ns_inode(pid: int | str, kind: str) -> int:
    """The inode of one namespace of `pid`."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except FileNotFoundError:  # a zombie has none left, too
        raise _gone(pid) from None


def cgroups(pid: int | str = "self") -> dict[str, str]:
    """Controller -> path as /proc/PID/cgroup has it; the v2 hierarchy is under ""."""
    paths = {}
    for line in read(pid, "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def pids() -> list[int]:
    """Every process that this /proc shows, ascending."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def children(pid: int) -> list[int]:
    """Live children of all threads of `pid`, ascending."""
    found: list[int] = []
    for tid in _list(pid, "task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # this thread just ended
            found += map(int, read(pid, f"task/{tid}/children").split())
    return sorted(found)


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of `pid`: with the pid it names one process for ever."""
    after_comm = read(pid, "stat").rpartition(")")[2].split()
    return int(after_comm[19])  # field 22 of proc(5), the third is the first after the name


def alive(pid: int, started: int | None = None) -> bool:
    """Is `pid` there, not a zombie, and (if given) the process that started at that tick?"""
    try:
        after_comm = read(pid, "stat").rpartition(")")[2].split()
    except ProcessLookupError:
        return False
    return after_comm[0] not in "ZX" and started in (None, int(after_comm[19]))
