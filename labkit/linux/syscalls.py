"""System calls that Python has not, or has only from 3.12 on, under their kernel names.

Each wrapper takes the arguments in the man page's order, raises OSError with the kernel's errno and
the path or value that was refused, and does nothing else. Policy and clean-up live in layer 1.
Paths are str, relative ones are relative to the working directory.
"""

import ctypes
import os

from labkit.linux import constants as c
from labkit.linux.constants import CloneFlag, FsConfig, Prctl

libc = ctypes.CDLL(None, use_errno=True)
_long, _ulong, _int, _str = ctypes.c_long, ctypes.c_ulong, ctypes.c_int, ctypes.c_char_p

#: name -> argument types; every function returns a long
_PROTOTYPES = {
    "mount": (_str, _str, _str, _ulong, _str),
    "umount2": (_str, _int),
    "unshare": (_int,),
    "setns": (_int, _int),
    "sethostname": (_str, ctypes.c_size_t),
    "setdomainname": (_str, ctypes.c_size_t),
    "prctl": (_int, _ulong, _ulong, _ulong, _ulong),
}
for _name, _types in _PROTOTYPES.items():
    getattr(libc, _name).argtypes = _types
libc.syscall.restype = _long


def oserror(what: object = None) -> OSError:
    """The OSError for the errno that the last call left, naming `what` was refused."""
    errno = ctypes.get_errno()
    return OSError(errno, os.strerror(errno), None if what is None else str(what))


def syscall(number: int, *args: int | bytes | None, what: object = None) -> int:
    """syscall(2): raw call by number; bytes go as pointers, None as NULL.

    Integers are passed as 64 bit (c_long): ctypes' default is 32 and leaves rubbish above.
    """
    passed = [_long(a) if isinstance(a, int) else _str(a) for a in args]
    if (value := libc.syscall(_long(number), *passed)) < 0:
        raise oserror(what)
    return int(value)


# ---- namespaces and the root ------------------------------------------------


def unshare(flags: CloneFlag) -> None:
    """unshare(2): leave the namespaces named in `flags` for new ones."""
    if libc.unshare(flags) < 0:
        raise oserror(CloneFlag(flags).name)


def setns(fd: int, nstype: int = 0) -> None:
    """setns(2): enter the namespace of `fd` (an open /proc/PID/ns/* file or a pidfd)."""
    if libc.setns(fd, nstype) < 0:
        raise oserror(f"fd {fd}")


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2): new_root becomes /, the old one is found at put_old."""
    syscall(c.nr("pivot_root"), new_root.encode(), put_old.encode(), what=new_root)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    raw = name.encode()
    if libc.sethostname(raw, len(raw)) < 0:
        raise oserror(name)


def setdomainname(name: str) -> None:
    """setdomainname(2): the NIS domain, shown by uname(2)."""
    raw = name.encode()
    if libc.setdomainname(raw, len(raw)) < 0:
        raise oserror(name)


# ---- mounts -----------------------------------------------------------------


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """mount(2); None is the NULL of the man page, for what the flags leave unused."""
    kind, text = _optional(fstype), _optional(data)
    if libc.mount(_optional(source), target.encode(), kind, flags, text) < 0:
        raise oserror(target)


def _optional(word: str | None) -> bytes | None:
    return None if word is None else word.encode()


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    if libc.umount2(target.encode(), flags) < 0:
        raise oserror(target)


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """open_tree(2): a descriptor of a mount, or of a detached copy of it."""
    return syscall(c.NR_open_tree, dirfd, path.encode(), flags, what=path)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2): attach a detached mount, or move an attached one."""
    syscall(
        c.NR_move_mount, from_fd, from_path.encode(), to_fd, to_path.encode(), flags, what=to_path
    )


def mount_setattr(dirfd: int, path: str, flags: int, attr: "MountAttributes") -> None:
    """mount_setattr(2): change attributes of one mount or, with At.RECURSIVE, of a tree."""
    raw = bytes(attr)
    syscall(c.NR_mount_setattr, dirfd, path.encode(), flags, raw, len(raw), what=path)


class MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2); propagation is a MountFlag, the rest MountAttr."""

    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def fsopen(fsname: str, flags: int = 1) -> int:
    """fsopen(2): begin a new file system; the default flag is FSOPEN_CLOEXEC."""
    return syscall(c.NR_fsopen, fsname.encode(), flags, what=fsname)


def fsconfig(fd: int, cmd: FsConfig, key: str | None, value: str | None, aux: int = 0) -> None:
    """fsconfig(2): one parameter or command for the file system begun at `fd`.

    What the kernel says about a refusal can be read from `fd`: it is appended to the message.
    """
    raw_key = None if key is None else key.encode()
    raw_value = None if value is None else value.encode()
    try:
        syscall(c.NR_fsconfig, fd, cmd, raw_key, raw_value, aux)
    except OSError as error:
        said = [part for part in (key, value, _fs_messages(fd)) if part is not None]
        raise OSError(error.errno, error.strerror, ": ".join(said)) from error


def _fs_messages(fd: int) -> str:
    """What the file system context has to say; each read gives one line, "e overlay: ..."."""
    lines = []
    while True:
        try:
            lines.append(os.read(fd, 1024).decode().strip())
        except OSError:  # ENODATA: nothing left
            return "; ".join(lines) or "no reason given"


def fsmount(fd: int, flags: int, attr_flags: int) -> int:
    """fsmount(2): a descriptor of the detached mount of the file system made at `fd`."""
    return syscall(c.NR_fsmount, fd, flags, attr_flags)


def fspick(dirfd: int, path: str, flags: int) -> int:
    """fspick(2): begin to change the file system that is mounted at `path`."""
    return syscall(c.NR_fspick, dirfd, path.encode(), flags, what=path)


class OpenHow(ctypes.Structure):
    """struct open_how of openat2(2); resolve is a Resolve."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


def openat2(dirfd: int, path: str, how: OpenHow) -> int:
    """openat2(2): open with a say in how `path` is resolved."""
    raw = bytes(how)
    return syscall(c.NR_openat2, dirfd, os.fsencode(path), raw, len(raw), what=path)


# ---- processes --------------------------------------------------------------


class CloneArgs(ctypes.Structure):
    """struct clone_args of clone3(2), version 2 (88 bytes)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid "
        "set_tid_size cgroup".split()
    ]


def clone3(args: CloneArgs) -> int:
    """clone3(2) used as fork: 0 in the child, its pid in the parent.

    The interpreter is told about the fork by its own hooks, so the caller must be single-threaded.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(libc.syscall(_long(c.NR_clone3), ctypes.byref(args), _ulong(ctypes.sizeof(args))))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    error = oserror(CloneFlag(args.flags).name) if pid < 0 else None
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if error:
        raise error
    return pid


def pidfd_open(pid: int, flags: int = 0) -> int:
    """pidfd_open(2): a descriptor that stays with this process even when its pid is reused."""
    return syscall(c.NR_pidfd_open, pid, flags, what=pid)


def pidfd_send_signal(pidfd: int, sig: int) -> None:
    """pidfd_send_signal(2)."""
    syscall(c.NR_pidfd_send_signal, pidfd, sig, None, 0, what=f"pidfd {pidfd}")


def pidfd_getfd(pidfd: int, targetfd: int) -> int:
    """pidfd_getfd(2): a duplicate of another process's descriptor."""
    return syscall(c.NR_pidfd_getfd, pidfd, targetfd, 0, what=f"fd {targetfd}")


def prctl(option: Prctl, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2)."""
    if (value := libc.prctl(option, arg2, arg3, arg4, arg5)) < 0:
        raise oserror(Prctl(option).name)
    return int(value)


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """close_range(2): close, or mark close-on-exec, every descriptor from first to last."""
    syscall(c.NR_close_range, first, last, flags, what=f"{first}-{last}")
