"""What the groups of both versions have in common: names, life, members, errors.

A group is one directory in each hierarchy it lives in: one on cgroup v2, one per controller on v1.
Here: everything that is the same file and the same rule on both. What differs is asked from the
subclass (labkit.cgroups.v1.Group, labkit.cgroups.v2.Group); the list is under "for the subclass".
"""

import contextlib
import errno
import os

from labkit.cgroups.files import (
    TIMEOUT,
    members,
    pauses,
    read_text,
    remove_directory,
    subdirectories,
    tree,
    write,
)
from labkit.cgroups.limits import Limits, Pressure, Statistics
from labkit.errors import Conflict, InvalidParameter, NotFound, Unavailable, Unsupported
from labkit.linux.bpf import DeviceRule


class Cgroup:
    """A control group; `name` is relative to the root of the hierarchy: "labkit-1f2e/web".

    As a context manager it ends with close(). Files that are gone raise NotFound, what this kernel
    does not have Unsupported, and a write that the kernel refuses OSError with path and value.
    """

    version = ""

    def __init__(self, name: str, directories: list[str]) -> None:
        self.name = name
        self.directories = directories
        self._made: list[str] = []

    def __repr__(self) -> str:
        return f"<Cgroup {self.name} ({self.version})>"

    def __enter__(self) -> "Cgroup":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- for the subclass ---------------------------------------------------

    def path(self, file: str) -> str:
        """The absolute path of one of the group's files; Unsupported without its controller."""
        raise NotImplementedError

    def plan(self, limits: Limits) -> list[tuple[str, str]]:
        """(file, value) of every write that set(limits) would do, in order; writes nothing.

        Raises InvalidParameter for what the machine does not have, Unsupported for a limit that
        needs the other version or a controller that is not there.
        """
        raise NotImplementedError

    def limits(self) -> Limits:
        """What the kernel holds now; it rounds, memory to pages for example."""
        raise NotImplementedError

    def statistics(self) -> Statistics:
        raise NotImplementedError

    def pressure(self, resource: str) -> Pressure:
        """Time lost for want of "cpu", "memory" or "io" by this group; v1: Unsupported."""
        raise NotImplementedError

    def add(self, pid: int = 0) -> None:
        """Move a process, with all its threads, into the group; 0 is the caller itself."""
        raise NotImplementedError

    def freeze(self, timeout: float = TIMEOUT) -> None:
        """Stop every member where it is; returns when all stand still, or Unavailable."""
        raise NotImplementedError

    def thaw(self) -> None:
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        """Do all members stand still?"""
        raise NotImplementedError

    def allow_devices(self, rules: list[DeviceRule]) -> None:
        """Deny every device but what `rules` allow; of two rules for one device the last decides.

        A second call replaces the first. v1 refuses it for a group that has children.
        """
        raise NotImplementedError

    def delegate(self, uid: int, gid: int = -1) -> None:
        """Let a user make groups of his own below this one; v1: Unsupported."""
        raise NotImplementedError

    def _sibling(self, name: str) -> "Cgroup":
        """A group object of the same version; makes nothing."""
        raise NotImplementedError

    def _prepare(self, parent: str, directory: str) -> None:
        """`directory` has been made in `parent`, or was there: what it needs to be of use."""
        raise NotImplementedError

    def _end_members(self) -> None:
        """Send SIGKILL to every member of the subtree, once."""
        raise NotImplementedError

    # ---- files --------------------------------------------------------------

    def read(self, file: str) -> str:
        """The text of one of the group's files, without the newline at the end."""
        path = self.path(file)
        try:
            return read_text(path)
        except OSError as error:
            self._explain(error, path, "")
            raise

    def write(self, file: str, value: str) -> None:
        """One write(2) of `value`."""
        self._write(self.path(file), value)

    def _write(self, path: str, value: str) -> None:
        try:
            write(path, value)
        except OSError as error:
            self._explain(error, path, value)
            raise

    def _explain(self, error: OSError, path: str, value: str) -> None:
        """Raise NotFound or Unsupported if that is what the errno stands for."""
        directory, _, file = path.rpartition("/")
        if not os.path.isdir(directory) or error.errno == errno.ENODEV and not value:
            raise NotFound(f"no cgroup {self.name!r} any more") from error
        if error.errno == errno.ENOENT and not os.path.exists(path):
            raise Unsupported(
                f"cgroup {self.name!r} has no {file}: its controller is not enabled here, "
                "or the kernel is too old"
            ) from error

    # ---- life ---------------------------------------------------------------

    def make(self, limits: Limits | None = None) -> None:
        """mkdir, parents too, then set(limits); on failure nothing is left behind."""
        plan = self.plan(check_limits(limits)) if limits is not None else []
        if self.exists:
            raise Conflict(f"there is a cgroup {self.name!r} already")
        try:
            for directory in self.directories:
                self._make_directory(directory)
            for file, value in plan:
                self.write(file, value)
        except BaseException:
            self._unmake()
            raise

    def _make_directory(self, directory: str) -> None:
        """Top-down from the root of the hierarchy, whose length is known from our name."""
        parent = directory[: -len(self.name) - 1]
        for part in self.name.split("/"):
            directory = f"{parent}/{part}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory)
                self._made.append(directory)
            self._prepare(parent, directory)
            parent = directory

    def set(self, limits: Limits) -> None:
        """Write what plan(limits) says; a refusal by the kernel leaves the earlier writes."""
        for file, value in self.plan(check_limits(limits)):
            self.write(file, value)

    def child(self, name: str, limits: Limits | None = None) -> "Cgroup":
        """A new group below this one."""
        if not self.exists:
            raise NotFound(f"no cgroup {self.name!r} any more")
        group = self._sibling(f"{self.name}/{check_name(name)}")
        group.make(limits)
        return group

    @property
    def exists(self) -> bool:
        return any(os.path.isdir(directory) for directory in self.directories)

    def kill(self, timeout: float = TIMEOUT) -> None:
        """SIGKILL to the whole subtree, racing forkers included; returns when nobody is left.

        Raises Conflict if the caller is a member, Unavailable naming the pids that stay.
        """
        self._refuse_own("kill")
        for _ in pauses(timeout):
            if not self.exists or not self.populated:
                return
            self._end_members()
        raise Unavailable(
            f"cgroup {self.name!r}: {timeout:g} s after SIGKILL there are still "
            f"{self.pids(recursive=True)}"
        )

    def remove(self) -> None:
        """rmdir, children first, and of parents that make() made if they are empty; idempotent.

        Raises Conflict while there are members.
        """
        if self.exists and self.populated:
            raise Conflict(f"cgroup {self.name!r} has members {self.pids(recursive=True)}: "
                           "kill() them or move them away first")  # fmt: skip
        for top in self.directories:
            for directory in tree(top):
                remove_directory(directory)
        self._unmake()

    def close(self) -> None:
        """kill(), then remove(): nothing is left, and a second time is no error."""
        self.kill()
        self.remove()

    def _unmake(self) -> None:
        """Take back our mkdirs, newest first, as far as nobody else has put something there."""
        while self._made:
            with contextlib.suppress(OSError):
                os.rmdir(self._made.pop())

    # ---- members ------------------------------------------------------------

    def pids(self, *, recursive: bool = False) -> list[int]:
        """Members as this pid namespace numbers them, ascending; zombies are no members."""
        found: set[int] = set()
        for top in self.directories:
            for directory in tree(top) if recursive else [top]:
                found.update(members(directory))
        if not found and not self.exists:
            raise NotFound(f"no cgroup {self.name!r} any more")
        return sorted(found)

    @property
    def populated(self) -> bool:
        """Is any process in the group or in one below it?"""
        return bool(self.pids(recursive=True))

    def children(self) -> "list[Cgroup]":
        """The groups right below this one, by name."""
        names = {name for top in self.directories for name in subdirectories(top)}
        return [self._sibling(f"{self.name}/{name}") for name in sorted(names)]

    def _refuse_own(self, verb: str) -> None:
        if self.exists and os.getpid() in self.pids(recursive=True):
            raise Conflict(f"process {os.getpid()} is in cgroup {self.name!r}: "
                           f"to {verb} it would be to {verb} itself")  # fmt: skip


def check_name(name: str) -> str:
    """InvalidParameter unless `name` is a relative path that stays below where it starts."""
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or part != part.strip() or "\n" in part for part in parts):
        raise InvalidParameter(f"cgroup name {name!r} is not a relative path without '..'")
    return name


def check_limits(limits: Limits) -> Limits:
    if not isinstance(limits, Limits):
        raise InvalidParameter(f"limits must be Limits(...), not {limits!r}")
    return limits


def check_pid(pid: int) -> None:
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise InvalidParameter(f"pid must be a number, such as an object's .pid, not {pid!r}")
    if pid < 0:
        raise InvalidParameter(f"pid must be 0 (the caller) or more, not {pid!r}")
