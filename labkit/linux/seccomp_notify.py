"""The supervisor's side of seccomp's USER_NOTIF, seccomp_unotify(2).

    filtered process                              supervisor
    calls mount(2), sleeps in the kernel    --->  receive(listener) -> Notification
    gets the value, the errno, or goes on   <---  respond(listener, id, ...)

Here: the three ioctls and their structures. What a supervisor reads in the other's memory may have
changed when it answers: check still_waits() after reading, and never let CONTINUE be a decision
about safety.
"""

import fcntl
import struct

_NOTIF = "=QIIiIQ6Q"  #: struct seccomp_notif: id, pid, flags, then struct seccomp_data
_RESPONSE = "=QqiI"  #: struct seccomp_notif_resp: id, val, error, flags

#: <linux/seccomp.h> SECCOMP_IOCTL_NOTIF_*: direction and size of the structure, '!', number
RECV = 0xC0000000 | struct.calcsize(_NOTIF) << 16 | ord("!") << 8 | 0
SEND = 0xC0000000 | struct.calcsize(_RESPONSE) << 16 | ord("!") << 8 | 1
ID_VALID = 0x40000000 | 8 << 16 | ord("!") << 8 | 2

FLAG_CONTINUE = 1  #: the kernel makes the call after all


class Notification:
    """One waiting call: id (for the answer), pid (as the supervisor sees it), nr, arch, args."""

    __slots__ = ("id", "pid", "nr", "arch", "args")

    def __init__(self, raw: bytes) -> None:
        self.id, self.pid, _, self.nr, self.arch, _, *self.args = struct.unpack(_NOTIF, raw)

    def __repr__(self) -> str:
        return f"<Notification {self.id:#x} pid {self.pid} nr {self.nr}>"


def receive(listener: int) -> Notification:
    """Wait for the next call; ENOENT when its process died. poll(2) the listener first."""
    raw = bytearray(struct.calcsize(_NOTIF))  # the kernel wants zeros
    fcntl.ioctl(listener, RECV, raw)
    return Notification(bytes(raw))


def respond(listener: int, id: int, *, value: int = 0, error: int = 0, flags: int = 0) -> None:
    """Let the call return `value`, or fail with the errno `error`, or FLAG_CONTINUE.

    ENOENT: the process is gone.
    """
    fcntl.ioctl(listener, SEND, bytearray(struct.pack(_RESPONSE, id, value, -error, flags)))


def still_waits(listener: int, id: int) -> bool:
    """Is the process that made this call still waiting for the answer?"""
    try:
        fcntl.ioctl(listener, ID_VALID, bytearray(struct.pack("=Q", id)))
    except FileNotFoundError:
        return False
    return True
