"""Mounts as data: what will be mounted can be read, and tested, before anything is.

Here: Mount and plans of mounts, propagation, and what is mounted where. Not here: what the option
words mean (mountoptions), which mounts a container has (rootfs), the layers of an overlay
(overlay), and how a target is found inside another root (rootpath).

Every mount is made detached, gets its attributes, and is then attached to its place by descriptor:
so it is never visible half made, such as writable before it becomes read-only, and no path is
looked up twice. After mount(8), fsopen(2), open_tree(2), move_mount(2), mount_setattr(2).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator

from labkit import rootpath
from labkit.errors import InvalidParameter
from labkit.linux import constants as c
from labkit.linux import procfs, syscalls
from labkit.linux.constants import MountAttr, MountFlag
from labkit.linux.procfs import MountInfo
from labkit.mountoptions import ATTRIBUTES, OPTIONS, PROPAGATION, RECURSIVE, SUPERBLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    Change = tuple[MountAttr, MountAttr]  # to set, to clear

    class Operation(Protocol):
        """What a plan is made of: see Mount, and the nodes and links of rootfs."""

        def describe(self) -> str: ...
        def perform(self, root: str = "/") -> None: ...


class Mount:
    """One mount: `source` seen at `target`, as a file system of type `fstype` with option words.

    With "bind" or "rbind" source is a path and fstype is ignored; with "remount" what is mounted at
    target is changed. InvalidParameter for words that cannot be; nothing is looked at yet.
    """

    __slots__ = ("fstype", "options", "source", "target")

    def __init__(
        self, source: str, target: str, fstype: str = "", options: Iterable[str] = ()
    ) -> None:
        self.source, self.target, self.fstype = source, target, fstype
        if isinstance(options, str):
            raise InvalidParameter(f"options {options!r} of {target}: a list of words, not a text")
        self.options = tuple(options)
        unknown = [word for word in self.options if word not in OPTIONS]
        if self.bind and unknown:
            raise InvalidParameter(f"option {unknown[0]!r} of {target}: a bind mount has no such")
        if not (fstype or self.bind or "remount" in self.options):
            raise InvalidParameter(f"mount at {target}: neither a file system type nor bind")

    @property
    def bind(self) -> bool:
        return "bind" in self.options or "rbind" in self.options

    def describe(self) -> str:
        """The mount(8) command that does the same."""
        words = ["mount"]
        if self.fstype and not self.bind:
            words += ["-t", self.fstype]
        if self.options:
            words += ["-o", ",".join(self.options)]
        return " ".join([*words, self.source, self.target])

    def __repr__(self) -> str:
        return f"<{self.describe()}>"

    def perform(self, root: str = "/") -> None:
        """Mount at `target` inside `root`; a missing target is created, as a file for a file.

        OSError as the kernel has it: ENODEV for a file system type that is absent, ENOENT for a
        missing source, EISDIR for a file on a directory. A symbolic link never leads out of root.
        """
        if "remount" in self.options:
            return self._remount(root)
        with rootpath.closing(self._make()) as mount:
            change_attributes(mount, self._changes(ATTRIBUTES))
            change_attributes(mount, self._changes(RECURSIVE), recursive=True)
            directory = stat.S_ISDIR(os.fstat(mount).st_mode)
            with rootpath.closing(rootpath.ensure(root, self.target, directory=directory)) as place:
                attach(mount, place, f"{self.source} on {self.target}")
            self._propagate(mount)

    def _make(self) -> int:
        """A descriptor of the new mount, attached nowhere yet."""
        if self.bind:
            recursive = c.At.RECURSIVE if "rbind" in self.options else 0
            return syscalls.open_tree(
                c.At.FDCWD, self.source, c.OpenTree.CLONE | c.OpenTree.CLOEXEC | recursive
            )
        with rootpath.closing(syscalls.fsopen(self.fstype)) as context:
            syscalls.fsconfig(context, c.FsConfig.SET_STRING, "source", self.source)
            self._configure(context)
            # a user namespace may mount proc and sysfs only as restricted as it sees them already:
            # the kernel looks at that here, changing the attributes afterwards is too late
            return create(context, self.describe(), _sum(self._changes(ATTRIBUTES))[0])

    def _configure(self, context: int) -> None:
        """Hand the file system its own words: mode=755, newinstance, ro, ..."""
        for word in self.options:
            key, equals, value = word.partition("=")
            if equals:
                syscalls.fsconfig(context, c.FsConfig.SET_STRING, key, value)
            elif word in SUPERBLOCK or word not in OPTIONS:
                syscalls.fsconfig(context, c.FsConfig.SET_FLAG, key, None)

    def _changes(self, family: "Mapping[str, Change]") -> "list[Change]":
        return [family[word] for word in self.options if word in family]

    def _propagate(self, mount: int) -> None:
        """In the end: a mount that is attached below a shared one has just become shared too."""
        for word in self.options:
            if word in PROPAGATION:
                set_propagation(mount, PROPAGATION[word])

    def _remount(self, root: str) -> None:
        """Change what is there; attributes that no word names, and locked ones, stay."""
        with rootpath.closing(rootpath.resolve(root, self.target)) as place:
            if not self.bind:
                flags = c.FsPick.CLOEXEC | c.FsPick.EMPTY_PATH
                with rootpath.closing(syscalls.fspick(place, "", flags)) as context:
                    self._configure(context)
                    syscalls.fsconfig(context, c.FsConfig.CMD_RECONFIGURE, None, None)
            change_attributes(place, self._changes(ATTRIBUTES), what=self.target)
            change_attributes(place, self._changes(RECURSIVE), recursive=True, what=self.target)
            self._propagate(place)


# ---- the calls, by descriptor ------------------------------------------------


def create(context: int, what: str, attributes: int = 0) -> int:
    """Let the file system that `context` describes come into being: a detached mount of it."""
    try:
        syscalls.fsconfig(context, c.FsConfig.CMD_CREATE, None, None)
        return syscalls.fsmount(context, c.FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{what}: {error.filename}") from error


def attach(mount: int, place: int, what: str = "") -> None:
    """Put a detached mount at a place; both are descriptors."""
    over, under = (stat.S_ISDIR(os.fstat(fd).st_mode) for fd in (mount, place))
    if over != under:  # here move_mount says only EINVAL; this is mount(8)'s
        if over:
            raise NotADirectoryError(errno.ENOTDIR, "a directory cannot cover a file", what)
        raise IsADirectoryError(errno.EISDIR, "a file cannot cover a directory", what)
    try:
        flags = c.MoveMount.F_EMPTY_PATH | c.MoveMount.T_EMPTY_PATH
        syscalls.move_mount(mount, "", place, "", flags)
    except OSError as error:
        raise OSError(error.errno, error.strerror, what) from error


def change_attributes(
    mount: int, changes: "Iterable[Change]", *, recursive: bool = False, what: str = ""
) -> None:
    """Set and clear attributes, the later change wins; mount_setattr(2)."""
    wanted, cleared = _sum(changes)
    if wanted or cleared:
        attr = syscalls.MountAttributes(attr_set=wanted, attr_clr=cleared)
        _setattr(mount, attr, recursive=recursive, what=what)


def _sum(changes: "Iterable[Change]") -> "Change":
    """(to set, to clear) after all the changes in order."""
    wanted, cleared = MountAttr(0), MountAttr(0)
    for set_now, clear_now in changes:
        wanted = wanted & ~clear_now | set_now
        cleared |= clear_now
    return wanted, cleared


def set_propagation(mount: int, flag: MountFlag, *, what: str = "") -> None:
    """One of PRIVATE, SLAVE, SHARED, UNBINDABLE, with REC for the mounts below too."""
    attr = syscalls.MountAttributes(propagation=flag & ~MountFlag.REC)
    _setattr(mount, attr, recursive=bool(flag & MountFlag.REC), what=what)


def _setattr(mount: int, attr: syscalls.MountAttributes, *, recursive: bool, what: str) -> None:
    flags = c.At.EMPTY_PATH | (c.At.RECURSIVE if recursive else 0)
    try:
        syscalls.mount_setattr(mount, "", flags, attr)
    except OSError as error:  # EINVAL: not the root of a mount; EPERM: locked, mount_setattr(2)
        raise OSError(error.errno, error.strerror, what) from error


# ---- plans --------------------------------------------------------------------


def describe(plan: "Iterable[Operation]") -> str:
    """The plan as text, one command a line."""
    return "\n".join(operation.describe() for operation in plan)


def perform(plan: "Iterable[Operation]", root: str = "/") -> None:
    """Do it, in order, in `root`. For a mount namespace of its own: nothing is undone."""
    for operation in plan:
        operation.perform(root)


@contextlib.contextmanager
def mounted(*plan: Mount, root: str = "/") -> Iterator[None]:
    """Mount for the time of a `with`, unmount in reverse; also what an error in between leaves.

    OSError (EBUSY) from the end when a mount is still in use: nothing is unmounted lazily.
    """
    with contextlib.ExitStack() as undo:
        for mount in plan:
            mount.perform(root)
            if "remount" not in mount.options:
                take_away = umount_tree if "rbind" in mount.options else umount
                undo.callback(take_away, rootpath.real(root, mount.target))
        yield


def umount(path: str, *, detach: bool = False) -> None:
    """Take away the topmost mount at `path`; detach: now, even when it is in use. umount2(2)"""
    syscalls.umount2(path, c.UmountFlag.NOFOLLOW | (c.UmountFlag.DETACH if detach else 0))


def umount_tree(path: str) -> None:
    """Take away the mount at `path` and all below it, which umount(path) would call busy."""
    propagate(path, "rprivate")  # else the mounts that these are copies of would go as well
    below = [m.point for m in procfs.mountinfo() if m.point.startswith(f"{path}/")]
    for point in sorted(below, key=len, reverse=True):
        umount(point)
    umount(path)


# ---- propagation, and what is mounted where ------------------------------------


def propagate(path: str, word: str) -> None:
    """Give the mount at `path` another propagation type: a word of PROPAGATION."""
    if word not in PROPAGATION:
        raise InvalidParameter(f"no propagation {word!r}: known are {' '.join(PROPAGATION)}")
    with rootpath.closing(os.open(path, os.O_PATH)) as mount:
        set_propagation(mount, PROPAGATION[word], what=path)


def make_private(path: str = "/") -> None:
    """Keep all mount events at and below `path` in this mount namespace."""
    propagate(path, "rprivate")


def mount_of(path: str) -> MountInfo:
    """The mount that `path` lies in: the kernel's own answer, also where mounts are stacked."""
    with rootpath.closing(os.open(path, os.O_PATH)) as fd:
        fields = dict(
            line.split(":\t") for line in procfs.read("self", f"fdinfo/{fd}").splitlines()
        )
    number = int(fields["mnt_id"])
    return next(mount for mount in procfs.mountinfo() if mount.id == number)


def is_mount_point(path: str) -> bool:
    """Does a mount begin at `path`? Bind mounts count, which os.path.ismount may miss."""
    return mount_of(path).point == os.path.realpath(path)


def propagation_of(path: str) -> str:
    """ "private", "shared", "slave", "shared,slave" or "unbindable": the mount `path` lies in."""
    names = {"shared": "shared", "master": "slave", "unbindable": "unbindable"}
    fields = [field.partition(":")[0] for field in mount_of(path).propagation]
    return ",".join(names[field] for field in fields if field in names) or "private"
