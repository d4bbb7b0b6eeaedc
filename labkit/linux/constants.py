"""Numbers of the Linux user-space API as documented enums; one family per class.

Only what labkit uses. Values are those of the headers named in each class and are equal on x86-64
and arm64; what differs by architecture (system call numbers) goes through nr() at the end.
"""

import os
from enum import IntEnum, IntFlag


class CloneFlag(IntFlag):
    """<linux/sched.h>, namespaces(7): the eight kinds, as unshare, setns and clone3 take them."""

    NEWTIME = 0x00000080  #: boot and monotonic clocks, time_namespaces(7)
    NEWNS = 0x00020000  #: mount points, mount_namespaces(7)
    NEWCGROUP = 0x02000000  #: the cgroup that is shown as "/", cgroup_namespaces(7)
    NEWUTS = 0x04000000  #: host name and domain name, uts_namespaces(7)
    NEWIPC = 0x08000000  #: System V IPC and POSIX queues, ipc_namespaces(7)
    NEWUSER = 0x10000000  #: uids, gids, capabilities, user_namespaces(7)
    NEWPID = 0x20000000  #: process numbers, pid_namespaces(7)
    NEWNET = 0x40000000  #: links, addresses, routes, ports, network_namespaces(7)
    #: not a namespace: undo the sharing of root and cwd with other threads, unshare(2)
    FS = 0x00000200
    #: not a namespace: return a pidfd, clone(2)
    PIDFD = 0x00001000
    #: not a namespace: the child starts in the cgroup of cl_args.cgroup, clone3 only
    INTO_CGROUP = 0x200000000


class MountFlag(IntFlag):
    """<linux/mount.h>, mount(2)."""

    RDONLY = 0x1  #: no writes through this mount
    NOSUID = 0x2  #: set-user-ID bits and file capabilities are ignored
    NODEV = 0x4  #: device nodes cannot be opened
    NOEXEC = 0x8  #: programs cannot be executed
    SYNCHRONOUS = 0x10  #: writes are synced at once
    REMOUNT = 0x20  #: change flags of an existing mount
    NOSYMFOLLOW = 0x100  #: symbolic links are not followed
    NOATIME = 0x400  #: access times are not updated
    NODIRATIME = 0x800  #: access times of directories are not updated
    BIND = 0x1000  #: show an existing tree at another place
    MOVE = 0x2000  #: move a mount to another place
    REC = 0x4000  #: apply to the whole tree of mounts
    SILENT = 0x8000  #: no kernel log messages
    UNBINDABLE = 1 << 17  #: private, and cannot be bind mounted
    PRIVATE = 1 << 18  #: mount events stay here
    SLAVE = 1 << 19  #: mount events arrive, none leave
    SHARED = 1 << 20  #: mount events travel both ways
    RELATIME = 1 << 21  #: access times are updated lazily
    STRICTATIME = 1 << 24  #: access times are always updated
    LAZYTIME = 1 << 25  #: times are kept in memory


class UmountFlag(IntFlag):
    """<linux/fs.h>, umount2(2)."""

    FORCE = 1  #: abort pending requests (network file systems)
    DETACH = 2  #: take the mount out of the tree now, clean up when it is no longer busy
    EXPIRE = 4  #: unmount if not used since the last such call
    NOFOLLOW = 8  #: do not follow a symbolic link


class MountAttr(IntFlag):
    """<linux/mount.h>, mount_setattr(2) and fsmount(2)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    NOATIME = 0x10
    STRICTATIME = 0x20
    ATIME = 0x70  #: mask of the three ways to keep access times; none of its bits is relatime
    NODIRATIME = 0x80
    IDMAP = 0x100000  #: ids of files are mapped through attr.userns_fd
    NOSYMFOLLOW = 0x200000


class OpenTree(IntFlag):
    """<linux/mount.h>, open_tree(2)."""

    CLONE = 1  #: a detached copy of the mount instead of a reference to it
    CLOEXEC = os.O_CLOEXEC


class MoveMount(IntFlag):
    """<linux/mount.h>, move_mount(2)."""

    F_EMPTY_PATH = 0x4  #: from_path is empty: from_fd itself is meant
    T_EMPTY_PATH = 0x40  #: to_path is empty: to_fd itself is meant


class At(IntFlag):
    """<fcntl.h>, openat(2) and relatives."""

    FDCWD = -100  #: relative paths start at the working directory
    SYMLINK_NOFOLLOW = 0x100
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000  #: the whole tree of mounts, mount_setattr(2)


class Resolve(IntFlag):
    """<linux/openat2.h>, openat2(2): what path resolution may cross."""

    NO_XDEV = 0x01  #: no mount points
    NO_MAGICLINKS = 0x02  #: no links such as /proc/self/fd/3
    NO_SYMLINKS = 0x04  #: no symbolic links at all
    BENEATH = 0x08  #: leaving the start directory is an error
    IN_ROOT = 0x10  #: the start directory is /, for absolute links and for ".." too


class FsPick(IntFlag):
    """<linux/mount.h>, fspick(2)."""

    CLOEXEC = 0x1
    EMPTY_PATH = 0x8  #: path is empty: the descriptor itself is meant


class FsConfig(IntEnum):
    """<linux/mount.h>, fsconfig(2): the commands that labkit sends."""

    SET_FLAG = 0  #: a key without a value
    SET_STRING = 1  #: key=value
    SET_FD = 5  #: a descriptor as the value
    CMD_CREATE = 6  #: make the file system
    CMD_RECONFIGURE = 7  #: change an existing one


class Prctl(IntEnum):
    """<linux/prctl.h>, prctl(2)."""

    SET_PDEATHSIG = 1  #: signal to get when the parent *thread* dies
    SET_NAME = 15  #: name of the calling thread
    CAPBSET_READ = 23  #: is a capability in the bounding set?
    CAPBSET_DROP = 24  #: take one out, for ever
    SET_SECUREBITS = 28
    SET_CHILD_SUBREAPER = 36  #: orphaned descendants become our children
    SET_NO_NEW_PRIVS = 38  #: exec never grants privileges any more
    GET_NO_NEW_PRIVS = 39
    CAP_AMBIENT = 47  #: see CapAmbient


class CapAmbient(IntEnum):
    """<linux/prctl.h>, prctl(2), second argument of CAP_AMBIENT."""

    IS_SET = 1
    RAISE = 2
    LOWER = 3
    CLEAR_ALL = 4


class CloseRange(IntFlag):
    """<linux/close_range.h>, close_range(2)."""

    UNSHARE = 2  #: do it to a private copy of the descriptor table
    CLOEXEC = 4  #: mark instead of closing


class BpfCommand(IntEnum):
    """<linux/bpf.h>, bpf(2): the commands that labkit sends."""

    PROG_LOAD = 5  #: verify a program and give a descriptor
    PROG_ATTACH = 8  #: to a cgroup
    PROG_DETACH = 9
    PROG_GET_FD_BY_ID = 13
    PROG_QUERY = 16  #: what is attached?


#: fsmount(2)
FSMOUNT_CLOEXEC = 1

#: statfs(2) f_type of the file systems that labkit asks for
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
OVERLAYFS_SUPER_MAGIC = 0x794C7630
TMPFS_MAGIC = 0x01021994
NSFS_MAGIC = 0x6E736673

#: from this number on system calls are numbered alike everywhere (Linux 5.1)
NR_pidfd_send_signal = 424
NR_open_tree = 428
NR_move_mount = 429
NR_fsopen = 430
NR_fsconfig = 431
NR_fsmount = 432
NR_fspick = 433
NR_pidfd_open = 434
NR_clone3 = 435
NR_close_range = 436
NR_openat2 = 437
NR_pidfd_getfd = 438
NR_mount_setattr = 442

#: <asm/unistd.h>: (x86-64, arm64) for what has no number in common
_NR = {
    "pivot_root": (155, 41),
    "capget": (125, 90),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "bpf": (321, 280),
}


def nr(name: str) -> int:
    """The system call number of `name` on this machine's architecture."""
    return _NR[name][{"x86_64": 0, "aarch64": 1}[os.uname().machine]]
