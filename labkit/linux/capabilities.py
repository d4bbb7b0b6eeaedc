"""Capabilities, capabilities(7): root's power cut into 41 pieces, and the five sets of a thread.

    effective     what the kernel checks now
    permitted     what the thread may put into effective
    inheritable   what survives exec of a file that also names it
    bounding      what exec can ever grant; pieces can only be taken out
    ambient       what survives exec of any file; always part of permitted and inheritable

Here: names, reading and setting the five sets of the calling thread. Not here: when to do it
(before or after setuid), and file capabilities.
"""

import ctypes
from collections.abc import Iterable
from enum import IntEnum

from labkit.errors import InvalidParameter
from labkit.linux import constants as c
from labkit.linux import procfs
from labkit.linux.constants import CapAmbient, Prctl
from labkit.linux.syscalls import prctl, syscall


class Capability(IntEnum):
    """<linux/capability.h>; the name without its CAP_."""

    CHOWN = 0  #: change the owner of files
    DAC_OVERRIDE = 1  #: pass the permission bits of files
    DAC_READ_SEARCH = 2  #: read any file, search any directory, open_by_handle_at(2)
    FOWNER = 3  #: act as the owner of any file
    FSETID = 4  #: keep the set-user-ID bits when a file changes
    KILL = 5  #: send signals to any process
    SETGID = 6  #: change group ids, also in a user namespace's map
    SETUID = 7  #: change user ids, also in a user namespace's map
    SETPCAP = 8  #: drop from bounding, add to inheritable what bounding has
    LINUX_IMMUTABLE = 9  #: set the append-only and immutable flags of files
    NET_BIND_SERVICE = 10  #: bind ports below 1024
    NET_BROADCAST = 11  #: (unused by the kernel)
    NET_ADMIN = 12  #: links, addresses, routes, firewall
    NET_RAW = 13  #: raw and packet sockets: ping, and forged packets
    IPC_LOCK = 14  #: lock memory
    IPC_OWNER = 15  #: pass the permissions of System V IPC
    SYS_MODULE = 16  #: load kernel modules
    SYS_RAWIO = 17  #: I/O ports, /dev/mem
    SYS_CHROOT = 18  #: chroot(2), setns(2) into a mount namespace
    SYS_PTRACE = 19  #: trace any process, read its memory
    SYS_PACCT = 20  #: acct(2)
    SYS_ADMIN = 21  #: mounts, namespaces and very much more
    SYS_BOOT = 22  #: reboot(2), kexec
    SYS_NICE = 23  #: raise priorities, pin processes to CPUs
    SYS_RESOURCE = 24  #: pass resource limits and quotas
    SYS_TIME = 25  #: set the clock
    SYS_TTY_CONFIG = 26  #: vhangup(2), some terminal ioctls
    MKNOD = 27  #: make device nodes
    LEASE = 28  #: leases on any file
    AUDIT_WRITE = 29  #: write records to the audit log
    AUDIT_CONTROL = 30  #: configure the audit log
    SETFCAP = 31  #: set file capabilities
    MAC_OVERRIDE = 32  #: pass mandatory access control (Smack)
    MAC_ADMIN = 33  #: configure mandatory access control (Smack)
    SYSLOG = 34  #: read the kernel's log
    WAKE_ALARM = 35  #: timers that wake the machine
    BLOCK_SUSPEND = 36  #: keep the machine awake
    AUDIT_READ = 37  #: read the audit log
    PERFMON = 38  #: performance counters
    BPF = 39  #: bpf(2)
    CHECKPOINT_RESTORE = 40  #: what checkpointing of processes needs

    def __str__(self) -> str:
        return f"CAP_{self.name}"


Caps = frozenset[Capability]

ALL: Caps = frozenset(Capability)

#: what Docker leaves to a container that does not ask
DOCKER_DEFAULT: Caps = frozenset(
    Capability[name]
    for name in (
        "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP "
        "SETGID SETPCAP SETUID SYS_CHROOT"
    ).split()
)


class Sets:
    """The five sets of one thread; equal when all five are."""

    __slots__ = ("effective", "permitted", "inheritable", "bounding", "ambient")

    def __init__(
        self,
        *,
        effective: Iterable[Capability] = (),
        permitted: Iterable[Capability] = (),
        inheritable: Iterable[Capability] = (),
        bounding: Iterable[Capability] = (),
        ambient: Iterable[Capability] = (),
    ) -> None:
        self.effective, self.permitted = frozenset(effective), frozenset(permitted)
        self.inheritable, self.bounding = frozenset(inheritable), frozenset(bounding)
        self.ambient = frozenset(ambient)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sets) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # sets of a living thread: compared, never a key

    def __repr__(self) -> str:
        return f"<Sets {' '.join(f'{n}={_mask(getattr(self, n)):x}' for n in self.__slots__)}>"


# ---- names and masks --------------------------------------------------------


def parse(names: Iterable[str]) -> Caps:
    """Capabilities by name, in any case, with or without CAP_; "ALL" means all of them.

    InvalidParameter names the first one that does not exist.
    """
    found: set[Capability] = set()
    for name in names:
        word = name.upper().removeprefix("CAP_")
        if word == "ALL":
            found |= ALL
        elif word in Capability.__members__:
            found.add(Capability[word])
        else:
            raise InvalidParameter(f"unknown capability {name!r}")
    return frozenset(found)


def names(caps: Iterable[Capability]) -> list[str]:
    """CAP_ names in the kernel's order."""
    return [str(cap) for cap in sorted(caps)]


def _mask(caps: Iterable[Capability]) -> int:
    return sum(1 << cap for cap in frozenset(caps))


def _unmask(mask: int) -> Caps:
    """Bits that this module has no name for (a newer kernel) are left out."""
    return frozenset(cap for cap in Capability if mask >> cap & 1)


# ---- the kernel -------------------------------------------------------------


def read(pid: int | str = "self") -> Sets:
    """The sets of `pid` from /proc/PID/status; ProcessLookupError when it is gone."""
    status = procfs.status(pid)
    fields = zip(("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"), Sets.__slots__, strict=True)
    return Sets(**{name: _unmask(int(status[field], 16)) for field, name in fields})


def apply(sets: Sets) -> None:
    """Give the calling thread exactly these sets, or as much as the kernel lets it (EPERM).

    Bounding goes first, while SETPCAP is still effective; ambient goes last, because it needs
    permitted and inheritable. Sets that contradict each other are InvalidParameter, before anything
    is dropped.
    """
    if missing := sets.ambient - (sets.permitted & sets.inheritable):
        raise InvalidParameter(f"ambient {_list(missing)} not in both permitted and inheritable")
    if missing := sets.effective - sets.permitted:
        raise InvalidParameter(f"effective {_list(missing)} not in permitted")
    for number in _bits(_bounding() & ~_mask(sets.bounding)):
        prctl(Prctl.CAPBSET_DROP, number)  # also what a newer kernel has and ALL has not
    clear_ambient()
    capset(sets.effective, sets.permitted, sets.inheritable)
    for cap in sorted(sets.ambient):
        raise_ambient(cap)


def _list(caps: Iterable[Capability]) -> str:
    return ", ".join(names(caps))


class _Header(ctypes.Structure):
    """cap_user_header_t of capget(2); pid 0 is the calling thread."""

    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    """cap_user_data_t: one for capabilities 0 to 31, one for the rest."""

    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


_VERSION_3 = 0x20080522


def capset(
    effective: Iterable[Capability],
    permitted: Iterable[Capability],
    inheritable: Iterable[Capability],
) -> None:
    """capset(2): three of the sets of the calling thread; EPERM when permitted would grow."""
    masks = [_mask(caps) for caps in (effective, permitted, inheritable)]
    data = (_Data * 2)(
        _Data(*(mask & 0xFFFFFFFF for mask in masks)), _Data(*(mask >> 32 for mask in masks))
    )
    syscall(c.nr("capset"), bytes(_Header(_VERSION_3, 0)), bytes(data), what="capset")


def drop_bounding(caps: Iterable[Capability]) -> None:
    """PR_CAPBSET_DROP: take `caps` out of the bounding set for ever; those not in it are no error.

    Needs SETPCAP: EPERM.
    """
    for number in _bits(_bounding() & _mask(caps)):
        prctl(Prctl.CAPBSET_DROP, number)


def _bounding() -> int:
    return int(procfs.status()["CapBnd"], 16)


def _bits(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def raise_ambient(cap: Capability) -> None:
    """PR_CAP_AMBIENT_RAISE: EPERM when `cap` is not both permitted and inheritable."""
    prctl(Prctl.CAP_AMBIENT, CapAmbient.RAISE, cap)


def clear_ambient() -> None:
    """PR_CAP_AMBIENT_CLEAR_ALL."""
    prctl(Prctl.CAP_AMBIENT, CapAmbient.CLEAR_ALL)
