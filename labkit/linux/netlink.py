"""netlink(7): requests and answers over a socket of the kernel; labkit.linux.rtnetlink uses it.

A message; numbers in host order, each attribute padded to 4 bytes:

     0      4      6       8      12     16
    +------+------+-------+------+------+--------------+-----------+-----------+--
    | len  | type | flags | seq  | pid  | fixed header | attribute | attribute | ...
    +------+------+-------+------+------+--------------+-----------+-----------+--
                                         of the type     len u16, type u16, value

An attribute's value can be attributes again. Every request here asks for an answer: the messages
wanted, if any, then NLMSG_ERROR with 0 or -errno and often a sentence of the kernel (extack); a
dump ends with NLMSG_DONE. Not here: multicast groups and what the types mean.
"""

import os
import socket
import struct
from collections.abc import Iterator
from enum import IntFlag


class Nlm(IntFlag):
    """<linux/netlink.h> NLM_F_*: flags of a message."""

    REQUEST = 0x1
    ACK = 0x4  #: answer also when all is well
    DUMP_INTR = 0x10  #: in an answer: something changed in between, ask again
    EXCL = 0x200  #: in a request: it must not be there yet
    CREATE = 0x400  #: in a request: make it
    DUMP = 0x300  #: in a request: everything of this type
    CAPPED = 0x100  #: in an error: the request is not repeated behind its header
    ACK_TLVS = 0x200  #: in an error: attributes follow


_ERROR, _DONE = 2, 3  #: NLMSG_*
_ATTR_MSG = 1  #: NLMSGERR_ATTR_MSG
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """One attribute: text gets its NUL, a number is a u32, bytes stay (also nested attributes)."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    raw = struct.pack("=I", value) if isinstance(value, int) else value
    return struct.pack("=HH", 4 + len(raw), kind) + raw + bytes(-len(raw) % 4)


def attributes(raw: bytes) -> dict[int, bytes]:
    """Attribute type -> value; nested ones are given to this function again."""
    found, at = {}, 0
    while at + 4 <= len(raw):
        length, kind = struct.unpack_from("=HH", raw, at)
        found[kind & 0x3FFF] = raw[at + 4 : at + length]  # without the bits nested and byte order
        at += max(4, length + 3 & ~3)
    return found


class Netlink:
    """A socket of one protocol (NETLINK_ROUTE = 0) in the namespace where it was opened."""

    __slots__ = ("_socket", "_sequence")

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def dump(self, kind: int, header: bytes, what: str) -> list[bytes]:
        """Everything of a type as bodies; asked again when something changed meanwhile."""
        while True:
            bodies, interrupted = self._exchange(kind, Nlm.REQUEST | Nlm.DUMP, header, what)
            if not interrupted:
                return bodies

    def request(self, kind: int, flags: int, body: bytes, what: str) -> list[bytes]:
        """Send one message; the answers' bodies. OSError holds `what` and the kernel's sentence."""
        return self._exchange(kind, Nlm.REQUEST | Nlm.ACK | flags, body, what)[0]

    def _exchange(self, kind: int, flags: int, body: bytes, what: str) -> tuple[list[bytes], bool]:
        self._sequence += 1
        self._socket.send(
            struct.pack("=IHHII", 16 + len(body), kind, flags, self._sequence, 0) + body
        )
        bodies, interrupted = [], False
        for answer, answer_flags, payload in self._answers():
            interrupted |= bool(answer_flags & Nlm.DUMP_INTR)
            if answer in (_ERROR, _DONE):
                _check(answer_flags, payload, what)
                break
            bodies.append(payload)
        return bodies, interrupted

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        """(type, flags, body) of each message that answers the last request."""
        while True:
            data, at = self._socket.recv(1 << 16), 0
            while at < len(data):
                length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, at)
                if sequence == self._sequence:
                    yield kind, flags, data[at + 16 : at + length]
                at += length + 3 & ~3


def _check(flags: int, payload: bytes, what: str) -> None:
    """Raise what NLMSG_ERROR or NLMSG_DONE says: an errno, our header, perhaps attributes."""
    number = -struct.unpack_from("=i", payload)[0] if payload else 0
    if not number:
        return
    said = ""
    if flags & Nlm.ACK_TLVS:
        repeated = 16 if flags & Nlm.CAPPED else struct.unpack_from("=I", payload, 4)[0]
        found = attributes(payload[4 + (repeated + 3 & ~3) :])
        said = found.get(_ATTR_MSG, b"").rstrip(b"\0").decode()
    raise OSError(number, os.strerror(number), f"{what}: {said}" if said else what)
