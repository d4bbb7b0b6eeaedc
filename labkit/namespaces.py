"""The eight kinds of namespaces: make new ones, join those of a process, map user and group ids.

Here: unshare and join; the id maps of user namespaces; the offsets of time namespaces; the
loopback link of a new network namespace. Not here: a process in new namespaces (spawn), what is
mounted in them (mounts, rootfs), other links than lo. After namespaces(7), setns(2),
user_namespaces(7), time_namespaces(7).

A namespace belongs to a thread, not to a process, and Python runs many: so what the kernel would
refuse in a threaded process, or take and punish later, is refused here first and says why.
"""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterable

from labkit.errors import Conflict, InvalidParameter
from labkit.linux import procfs, syscalls
from labkit.linux.constants import CloneFlag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: the name of a kind in /proc/PID/ns -> its flag
KINDS = {
    "mnt": CloneFlag.NEWNS,
    "pid": CloneFlag.NEWPID,
    "uts": CloneFlag.NEWUTS,
    "ipc": CloneFlag.NEWIPC,
    "net": CloneFlag.NEWNET,
    "user": CloneFlag.NEWUSER,
    "cgroup": CloneFlag.NEWCGROUP,
    "time": CloneFlag.NEWTIME,
}

#: What a threaded process must not unshare. The kernel says EINVAL to user; it takes the others,
#: and then no thread can be started any more, clone(2). (time: so on Linux 6.1, not on 6.18)
ONE_THREAD_TO_UNSHARE = ("user", "pid", "time")
#: The same for setns(2): EINVAL for user and mnt, EUSERS for time; pid as above.
ONE_THREAD_TO_JOIN = ("user", "mnt", "time", "pid")

NS_GET_USERNS, NS_GET_PARENT = 0xB701, 0xB702  # ioctl_ns(2)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # netdevice(7)


def flags(kinds: Iterable[str]) -> CloneFlag:
    """The flags of several kinds together; InvalidParameter for a word that is none."""
    together = CloneFlag(0)
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidParameter(f"no namespace kind {kind!r}: known are {' '.join(KINDS)}")
        together |= KINDS[kind]
    return together


def unshare(kinds: Iterable[str]) -> None:
    """Leave the namespaces of these kinds for new ones, unshare(2).

    pid and time take effect in the next child, not in the caller. Conflict in a threaded process
    for the kinds that need one thread.
    """
    kinds = list(kinds)
    wanted = flags(kinds)
    _need_one_thread("unshare", [kind for kind in ONE_THREAD_TO_UNSHARE if kind in kinds])
    syscalls.unshare(wanted)


def _need_one_thread(call: str, kinds: "Sequence[str]") -> None:
    threads = int(procfs.status()["Threads"])
    if not kinds or threads == 1:
        return
    name = f"{call}(CLONE_{KINDS[kinds[0]].name})"
    now = "user" in kinds or call == "setns" and kinds != ["pid"]
    why = f"{name} needs one" if now else f"after {name} it could start no other"
    raise Conflict(f"this process has {threads} threads: {why}")


# ---- joining ----------------------------------------------------------------


def join(pid: int, kinds: Iterable[str] | None = None) -> None:
    """Enter the namespaces of `pid`, all that differ from ours or only those of these kinds.

    Every door is opened before the first is passed: behind mnt lies another /proc. pid takes effect
    in the next child. ProcessLookupError when `pid` is gone; Conflict in a threaded process.
    """
    flags(kinds or ())
    with contextlib.ExitStack() as opened:
        doors = _open_doors(pid, list(kinds or KINDS), opened, all_must_exist=kinds is not None)
        _need_one_thread("setns", [kind for kind in ONE_THREAD_TO_JOIN if kind in doors])
        for kind in _joining_order(doors):
            syscalls.setns(doors[kind], KINDS[kind])


def _open_doors(
    pid: int, kinds: list[str], opened: contextlib.ExitStack, *, all_must_exist: bool
) -> dict[str, int]:
    """Kind -> descriptor, without those we are in already: setns to one's own user is EINVAL."""
    try:
        # one descriptor for the directory: a pid that is reused meanwhile cannot mix two processes
        process = os.open(f"/proc/{pid}/ns", os.O_RDONLY | os.O_DIRECTORY)
        opened.callback(os.close, process)
        present = kinds if all_must_exist else [k for k in kinds if k in os.listdir(process)]
        doors = {}
        for kind in present:
            doors[kind] = os.open(kind, os.O_RDONLY, dir_fd=process)
            opened.callback(os.close, doors[kind])
    except FileNotFoundError as error:
        raise ProcessLookupError(error.errno, "no such process", str(pid)) from error
    return {kind: fd for kind, fd in doors.items() if _inode(fd) != _our_inode(kind)}


def _inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def _our_inode(kind: str) -> int:
    """Where our next child will be: for pid and time that can differ from where we are."""
    name = f"{kind}_for_children" if kind in ("pid", "time") else kind
    try:
        return os.stat(f"/proc/self/ns/{name}").st_ino
    except FileNotFoundError:  # after unshare(CLONE_NEWPID), before the first child
        return 0


def _joining_order(doors: dict[str, int]) -> list[str]:
    """user, what it owns, mnt last; but before user what it does not own, while we still may.

    With user we gain all capabilities there and lose those here, user_namespaces(7). nsenter(1)
    tries everything twice to the same end; asking who owns a namespace needs no failing call.
    """
    kinds = sorted(doors, key=lambda kind: kind == "mnt")
    if "user" not in doors:
        return kinds
    kinds.remove("user")
    owned = [kind for kind in kinds if _owns(doors["user"], doors[kind])]
    return [kind for kind in kinds if kind not in owned] + ["user"] + owned


def _owns(user: int, fd: int) -> bool:
    """Is `user`, or a user namespace below it, the owner of the namespace `fd`? ioctl_ns(2)"""
    with contextlib.ExitStack() as opened:
        request = NS_GET_USERNS
        while True:
            try:
                fd = fcntl.ioctl(fd, request)
            except PermissionError:  # the next one up is out of our sight
                return False
            opened.callback(os.close, fd)
            if _inode(fd) == _inode(user):
                return True
            request = NS_GET_PARENT


# ---- ids, clocks, loopback --------------------------------------------------


class IdMap:
    """`length` ids from `inside` on are, for the parent namespace, those from `outside` on."""

    __slots__ = ("inside", "length", "outside")

    def __init__(self, inside: int, outside: int, length: int = 1) -> None:
        self.inside, self.outside, self.length = inside, outside, length
        if length < 1:
            raise InvalidParameter(f"id map {self}: the length must be at least 1")
        # the last of the 2^32 ids, (uid_t) -1, means "no id" and can not be mapped
        if min(inside, outside) < 0 or max(inside, outside) + length > 2**32 - 1:
            raise InvalidParameter(f"id map {self}: ids go from 0 to 4294967294")

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.length}"

    def __repr__(self) -> str:
        return f"IdMap({self.inside}, {self.outside}, {self.length})"

    def overlaps(self, other: "IdMap") -> bool:
        """Do the two name an id twice, inside or outside?"""
        return any(
            mine < theirs + other.length and theirs < mine + self.length
            for mine, theirs in ((self.inside, other.inside), (self.outside, other.outside))
        )


def write_maps(
    pid: int | str, uid_maps: "Sequence[IdMap]", gid_maps: "Sequence[IdMap]", *, setgroups: bool
) -> None:
    """Map the ids of the user namespace of `pid`, once and for ever, user_namespaces(7).

    setgroups=False forbids setgroups(2) inside, which a writer without CAP_SETGID must do before it
    writes gid_map: else a process could drop a group that denies it something.
    """
    for maps in (uid_maps, gid_maps):
        _check(maps)
    if not setgroups:
        _write(pid, "setgroups", "deny")
    _write(pid, "uid_map", "".join(f"{line}\n" for line in uid_maps))
    _write(pid, "gid_map", "".join(f"{line}\n" for line in gid_maps))


def _check(maps: "Sequence[IdMap]") -> None:
    if not 1 <= len(maps) <= 340:
        raise InvalidParameter(f"{len(maps)} id maps: the kernel takes 1 to 340")
    for index, one in enumerate(maps):
        for other in maps[:index]:
            if one.overlaps(other):
                raise InvalidParameter(f"id maps {other} and {one} overlap")


def read_maps(pid: int | str, which: str = "uid_map") -> list[IdMap]:
    """The lines of /proc/PID/uid_map or gid_map; `outside` is as the reader's namespace sees it."""
    return [IdMap(*map(int, line.split())) for line in procfs.read(pid, which).splitlines()]


def set_time_offsets(pid: int | str, *, monotonic: float = 0.0, boottime: float = 0.0) -> None:
    """Shift, in seconds, the clocks that the children of `pid` will see, time_namespaces(7).

    After unshare(["time"]) and before the first child: from then on the kernel says EACCES.
    """
    lines = []
    for clock, offset in (("monotonic", monotonic), ("boottime", boottime)):
        seconds, fraction = divmod(offset, 1)
        lines.append(f"{clock} {int(seconds)} {int(fraction * 1_000_000_000)}\n")
    _write(pid, "timens_offsets", "".join(lines))


def _write(pid: int | str, name: str, text: str) -> None:
    """One write(2) for the whole text: the second one would be refused."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY)
    except FileNotFoundError as error:
        raise ProcessLookupError(error.errno, "no such process", str(pid)) from error
    try:
        os.write(fd, text.encode())
    except OSError as error:
        what = f"{text.strip()!r} to /proc/{pid}/{name}"
        raise OSError(error.errno, error.strerror, what) from error
    finally:
        os.close(fd)


def bring_up_lo() -> None:
    """Set the loopback link of our network namespace up; the kernel adds 127.0.0.1. netdevice(7)"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)  # struct ifreq: name, flags
        (current,) = struct.unpack_from("H", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", current | IFF_UP))
