"""Layers of directories seen as one: overlay mounts and the marks they leave in the upper layer.

Here: Overlay, the whiteouts and opaque directories that stand for "not here", and whether a
directory can be an upper one. Not here: which layers an image has, and their tar form (image).

    Documentation/filesystems/overlayfs.rst   "Upper and Lower", "whiteouts and opaque
                                              directories", "Volatile mount"

New kernels take the layers one by one, each with its own error message (fsconfig "lowerdir+").
Older ones (such as 6.1) take one string for mount(2), cut at one page: there the layers are named
relative to the directory that holds them all, so that hundreds fit.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from labkit import mounts, rootpath
from labkit.errors import InvalidParameter, Unsupported
from labkit.linux import syscalls
from labkit.linux.constants import FsConfig

#: OVL_MAX_STACK: more lower layers than this the kernel refuses
MAX_LAYERS = 500
#: bytes of option text that mount(2) takes: one page with the NUL at its end
MAX_OPTIONS = 4095
#: fsconfig(2) takes strings up to 255 bytes
MAX_STRING = 255

OPAQUE = "trusted.overlay.opaque"  #: extended attribute; the value is b"y"

#: whatever the kernel's defaults are, an upper layer holds whole files and directories and no
#: references into the lower layers: so it means the same below another one, and in an image
PLAIN = {"redirect_dir": "off", "index": "off", "metacopy": "off"}


class Overlay:
    """`lowerdirs`, the topmost first, below `upperdir`, which takes all writes; without an upperdir
    the whole is read-only.

    workdir is an empty directory beside upperdir, for the kernel. volatile: never wait for the
    disk; after a crash of the machine the upper layer is lost, and until <workdir>/work/incompat is
    removed it cannot be mounted again. All paths are absolute. InvalidParameter for what can never
    be mounted; the file system is not looked at yet.
    """

    __slots__ = ("lowerdirs", "upperdir", "volatile", "workdir")

    def __init__(
        self,
        lowerdirs: Sequence[str],
        upperdir: str | None = None,
        workdir: str | None = None,
        *,
        volatile: bool = False,
    ) -> None:
        self.lowerdirs, self.upperdir, self.workdir = tuple(lowerdirs), upperdir, workdir
        self.volatile = volatile
        if isinstance(lowerdirs, str):
            raise InvalidParameter(f"lowerdirs {lowerdirs!r} is one path, not a list of paths")
        if (upperdir is None) != (workdir is None):
            raise InvalidParameter(f"upperdir {upperdir} and workdir {workdir}: both or neither")
        if volatile and upperdir is None:
            raise InvalidParameter("volatile is about writes: it needs an upperdir")
        least = 2 if upperdir is None else 1
        if not least <= len(self.lowerdirs) <= MAX_LAYERS:
            count = f"{len(self.lowerdirs)} lower layers"
            raise InvalidParameter(f"{count}: the kernel takes {least} to {MAX_LAYERS}")
        for path in self.paths():
            _check_name(path)

    def paths(self) -> list[str]:
        """Every directory of the overlay: lower ones, upper, work."""
        return [*self.lowerdirs, *(path for path in (self.upperdir, self.workdir) if path)]

    def options(self) -> dict[str, str | None]:
        """The options beside the lower layers; None for a word without a value."""
        options: dict[str, str | None] = dict(PLAIN)
        if self.upperdir and self.workdir:
            options |= {"upperdir": self.upperdir, "workdir": self.workdir}
        if self.volatile:
            options["volatile"] = None
        return options

    def describe(self, target: str) -> str:
        """The mount(8) command that does the same."""
        words = _text({"lowerdir": ":".join(self.lowerdirs), **self.options()})
        return f"mount -t overlay -o {words} overlay {target}"

    def perform(self, target: str) -> None:
        """Mount it at `target`, an existing directory.

        FileNotFoundError names the layer that is missing; InvalidParameter says what upper and work
        directory cannot be; OSError is the kernel's, with its reason.
        """
        self._check_directories()
        with rootpath.closing(os.open(target, os.O_PATH | os.O_DIRECTORY)) as place:
            try:
                mount = self._make()
            except OSError as error:
                if not _is_old(error):
                    raise
                return self._mount_by_string(f"/proc/self/fd/{place}", target)
            with rootpath.closing(mount):
                mounts.attach(mount, place, target)

    def _check_directories(self) -> None:
        devices = {}
        for path in self.paths():
            status = os.stat(path)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            devices[path] = status.st_dev
        if not self.upperdir or not self.workdir:
            return
        upper, work = os.path.realpath(self.upperdir), os.path.realpath(self.workdir)
        both = f"upperdir {self.upperdir} and workdir {self.workdir}"
        if devices[self.upperdir] != devices[self.workdir]:
            raise InvalidParameter(f"{both} are on different file systems")
        if os.path.commonpath([upper, work]) in (upper, work):
            raise InvalidParameter(f"{both}: one lies inside the other")
        if mounts.mount_of(upper).fstype == "overlay":
            raise Unsupported(f"{ON_OVERLAY}: {self.upperdir}")

    def _make(self) -> int:
        """A detached mount, the layers given one by one."""
        with rootpath.closing(syscalls.fsopen("overlay")) as context:
            syscalls.fsconfig(context, FsConfig.SET_STRING, "source", "overlay")
            for lower in self.lowerdirs:
                syscalls.fsconfig(context, FsConfig.SET_STRING, "lowerdir+", lower)
            _configure(context, self.options())
            return mounts.create(context, "overlay")

    def _mount_by_string(self, place: str, target: str) -> None:
        """mount(2) with names relative to the directory that all the layers have in common."""
        common = os.path.commonpath(self.paths())
        near = {path: os.path.relpath(path, common) for path in self.paths()}
        options = self.options() | {"lowerdir": ":".join(near[path] for path in self.lowerdirs)}
        for key in ("upperdir", "workdir"):
            if path := options.get(key):
                options[key] = near[path]
        text = _text(options)
        if len(text.encode()) > MAX_OPTIONS:
            length = f"{len(text.encode())} bytes of options for {len(self.lowerdirs)} layers"
            raise InvalidParameter(f"{length}: this kernel takes {MAX_OPTIONS}, give shorter names")
        with contextlib.chdir(common):
            try:
                syscalls.mount("overlay", place, "overlay", 0, text)
            except OSError as error:
                what = f"overlay on {target}: the reason is in the kernel log, dmesg(1)"
                raise OSError(error.errno, error.strerror, what) from error


def _is_old(error: OSError) -> bool:
    """Does the kernel refuse because it has not heard of lowerdir+?

    Linux 6.5 and 6.6 say that the parameter is unknown. Older ones collect all words, up to a page,
    and refuse them at the end with a reason in the kernel log only.
    """
    signs = ("Unknown parameter 'lowerdir+'", "VFS: Legacy", "no reason given")
    return error.errno == errno.EINVAL and any(sign in str(error.filename) for sign in signs)


def _check_name(path: str) -> None:
    """A comma ends an option, a colon a layer, a backslash escapes: differently in each kernel."""
    if not os.path.isabs(path):
        raise InvalidParameter(f"layer {path!r} is not an absolute path")
    if bad := [character for character in ",:\\" if character in path]:
        raise InvalidParameter(f"layer {path!r}: overlay options cannot hold {bad[0]!r}")
    if len(os.fsencode(path)) > MAX_STRING:
        raise InvalidParameter(f"layer {path!r} is longer than {MAX_STRING} bytes")


def _text(options: dict[str, str | None]) -> str:
    return ",".join(key if value is None else f"{key}={value}" for key, value in options.items())


def _configure(context: int, options: dict[str, str | None]) -> None:
    for key, value in options.items():
        command = FsConfig.SET_FLAG if value is None else FsConfig.SET_STRING
        syscalls.fsconfig(context, command, key, value)


@contextlib.contextmanager
def mounted(overlay: Overlay, target: str) -> Iterator[None]:
    """Mount for the time of a `with`; OSError (EBUSY) from its end when it is still in use."""
    overlay.perform(target)
    try:
        yield
    finally:
        mounts.umount(os.path.realpath(target))


# ---- marks in the upper layer ---------------------------------------------------


def make_whiteout(path: str) -> None:
    """Say in a layer that `path` is not there, whatever lies below: a device node 0:0. mknod(2)"""
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def is_whiteout(path: str) -> bool:
    """Is `path`, in a layer, the mark of a deleted file?"""
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(0, 0)


def make_opaque(path: str) -> None:
    """Say in a layer that directories of this name below are not merged into `path`."""
    os.setxattr(path, OPAQUE, b"y", follow_symlinks=False)


def is_opaque(path: str) -> bool:
    """Does the directory `path`, in a layer, hide those below it?"""
    try:
        return os.getxattr(path, OPAQUE, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


# ---- can this directory be an upper one? ----------------------------------------

ON_OVERLAY = "an overlay cannot be the upper layer of another one"


class Support:
    """True or False, and why not."""

    __slots__ = ("reason",)

    def __init__(self, reason: str = "") -> None:
        self.reason = reason

    def __bool__(self) -> bool:
        return not self.reason

    def __repr__(self) -> str:
        return self.reason or "supported"


def supports_upper(path: str) -> Support:
    """Can upper layers lie in the directory `path`? Tried, in a directory that goes again: the two
    marks, and an overlay that is mounted nowhere. Needs root."""
    if mounts.mount_of(path).fstype == "overlay":
        return Support(f"{ON_OVERLAY}: {path}")
    probe = os.path.join(os.path.realpath(path), f".overlay-{os.getpid()}")
    try:
        os.mkdir(probe)
        try:
            _try_upper(probe)
        finally:
            _remove_probe(probe)
    except OSError as error:
        return Support(f"{path}: {error.strerror}: {error.filename}")
    return Support()


def _try_upper(probe: str) -> None:
    lower, upper, work = (os.path.join(probe, name) for name in ("lower", "upper", "work"))
    for directory in (lower, upper, work):
        os.mkdir(directory)
    make_whiteout(os.path.join(upper, "gone"))
    make_opaque(upper)
    with rootpath.closing(syscalls.fsopen("overlay")) as context:
        _configure(context, {"lowerdir": lower, "upperdir": upper, "workdir": work})
        os.close(mounts.create(context, "overlay"))


def _remove_probe(probe: str) -> None:
    for directory, directories, files in os.walk(probe, topdown=False):
        for name in files:
            os.unlink(os.path.join(directory, name))
        for name in directories:
            os.rmdir(os.path.join(directory, name))
    os.rmdir(probe)
