"""What a container finds mounted, and how its directory becomes /.

Here: the default mounts, device nodes and links as one plan; paths to hide and to protect; pivot.
Not here: how a mount is made (mounts), the layers below (overlay), cgroup mounts (cgroups).

    OCI runtime-spec, config-linux.md   "Default Filesystems", "Default Devices", "Masked Paths",
                                        "Readonly Paths"
    OCI runtime-spec, runtime-linux.md  "File descriptors": /dev/fd, /dev/stdin, ...
    pivot_root(2)                       the conditions, and pivot_root(".", ".")

The order is: perform(default_plan(), root), then pivot(root), then perform(PROTECTION).
"""

import errno
import os
import stat
from collections.abc import Iterable

from labkit import mounts, rootpath
from labkit.errors import Conflict, InvalidParameter, Unsupported
from labkit.linux import procfs, syscalls
from labkit.linux.constants import At, MountAttr, OpenTree
from labkit.mounts import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labkit.mounts import Operation

#: "Default Filesystems", with the options that docker gives them
FILE_SYSTEMS = (
    Mount("proc", "/proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("tmpfs", "/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount(
        "devpts",
        "/dev/pts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Mount("sysfs", "/sys", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("mqueue", "/dev/mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("shm", "/dev/shm", "tmpfs", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
)

#: "Default Devices": name in /dev -> (major, minor), all of them character devices
DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}

#: name in /dev -> where the link points; ptmx belongs to the devpts instance beside it
LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}

#: "Masked Paths" as docker has them: they tell about the whole machine, or change it
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

#: "Readonly Paths" as docker has them: settings of the whole kernel
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Node:
    """A character device in /dev: made with mknod(2), or borrowed from the host where that is
    forbidden, as in a user namespace (mknod(2): EPERM)."""

    __slots__ = ("major", "minor", "mode", "path")

    def __init__(self, path: str, major: int, minor: int, mode: int = 0o666) -> None:
        self.path, self.major, self.minor, self.mode = path, major, minor, mode

    def describe(self) -> str:
        return f"mknod -m {self.mode:o} {self.path} c {self.major} {self.minor}"

    def perform(self, root: str = "/") -> None:
        """Raises FileExistsError when something is there already."""
        mask = os.umask(0)
        try:
            with rootpath.parent(root, self.path) as (directory, name):
                device = os.makedev(self.major, self.minor)
                os.mknod(name, stat.S_IFCHR | self.mode, device, dir_fd=directory)
        except PermissionError:
            Mount(self.path, self.path, options=("bind",)).perform(root)
        finally:
            os.umask(mask)


class Link:
    """A symbolic link; where it points is not looked at."""

    __slots__ = ("path", "to")

    def __init__(self, path: str, to: str) -> None:
        self.path, self.to = path, to

    def describe(self) -> str:
        return f"ln -s {self.to} {self.path}"

    def perform(self, root: str = "/") -> None:
        with rootpath.parent(root, self.path) as (directory, name):
            os.symlink(self.to, name, dir_fd=directory)


class Mask:
    """Hide a file behind /dev/null, a directory behind an empty one. What is missing is hidden."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"hide {self.path}, if it exists"

    def perform(self, root: str = "/") -> None:
        try:
            with rootpath.closing(rootpath.resolve(root, self.path)) as place:
                directory = stat.S_ISDIR(os.fstat(place).st_mode)
        except FileNotFoundError:
            return
        if directory:
            Mount("tmpfs", self.path, "tmpfs", ("ro", "size=0")).perform(root)
        else:
            Mount("/dev/null", self.path, options=("bind",)).perform(root)


class Protect:
    """Make a path read-only, with all that is mounted below it: a bind mount on itself."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"make {self.path} read-only, if it exists"

    def perform(self, root: str = "/") -> None:
        try:
            place = rootpath.resolve(root, self.path)
        except FileNotFoundError:
            return
        flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.EMPTY_PATH | At.RECURSIVE
        with (
            rootpath.closing(place),
            rootpath.closing(syscalls.open_tree(place, "", flags)) as copy,
        ):
            mounts.change_attributes(copy, [(MountAttr.RDONLY, MountAttr(0))], recursive=True)
            mounts.attach(copy, place, self.path)


def default_plan() -> "list[Operation]":
    """File systems, device nodes and links of a container, for perform() in its root."""
    nodes = [Node(f"/dev/{name}", *numbers) for name, numbers in DEVICES.items()]
    links = [Link(f"/dev/{name}", to) for name, to in LINKS.items()]
    return [*FILE_SYSTEMS, *nodes, *links]


def protection_plan(
    masked: Iterable[str] = MASKED, readonly: Iterable[str] = READONLY
) -> "list[Operation]":
    """What is hidden and protected; after pivot(), when /proc and /sys are the container's."""
    return [*map(Protect, readonly), *map(Mask, masked)]


# ---- the root -----------------------------------------------------------------


def prepare(root: str) -> None:
    """Make `root` fit for pivot(): a mount point, in a tree that sends no mount events out.

    For a mount namespace of its own: / becomes a slave, with all below it.
    """
    mounts.propagate("/", "rslave")
    if not mounts.is_mount_point(root):
        Mount(root, root, options=("rbind",)).perform()


def pivot(root: str) -> None:
    """Make `root` our / and unmount the old one, with all that was mounted there. pivot_root(2)

    chroot(2) changes where paths start and leaves the old tree in place, for whoever holds a
    descriptor of it; this takes it out of the mount namespace. For a namespace of its own.
    InvalidParameter, Conflict or Unsupported say which of the conditions does not hold.
    """
    _check(root)
    old = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        os.chdir(root)
        try:
            # with put_old = new_root the old root is stacked on the new one: no directory is needed
            syscalls.pivot_root(".", ".")
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"pivot_root to {root}") from error
        os.fchdir(old)
        # else the unmounting would travel to the namespace that we were copied from
        mounts.propagate(".", "rslave")
        mounts.umount(".", detach=True)
    finally:
        os.close(old)
    os.chdir("/")


def _check(root: str) -> None:
    """pivot_root(2) answers EINVAL to each of these; this says which."""
    if not os.path.isabs(root):
        raise InvalidParameter(f"root {root!r} is not an absolute path")
    if not os.path.isdir(root):
        raise NotADirectoryError(errno.ENOTDIR, "the new root is not a directory", root)
    if mounts.mount_of("/").fstype == "rootfs":
        raise Unsupported("/ is the initial RAM file system: pivot_root cannot leave it")
    if not mounts.is_mount_point(root):
        raise InvalidParameter(f"new root {root!r} is not a mount point: bind it on itself first")
    mount = mounts.mount_of(root)
    for one in procfs.mountinfo():
        shared = any(field.startswith("shared:") for field in one.propagation)
        if shared and one.id in (mount.id, mount.parent):
            raise Conflict(f"the mount at {one.point!r} is shared: make it a slave or private")
