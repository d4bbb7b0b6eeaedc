"""bpf(2) for one purpose: which devices the processes of a cgroup v2 may use.

cgroup v2 has no devices.list. In its place a small eBPF program is attached to the cgroup's
directory; the kernel runs it at each open and mknod of a device node (kernel documentation,
admin-guide/cgroup-v2, "Device controller"). The program gets a struct bpf_cgroup_dev_ctx

    +0  access << 16 | type      access: 1 mknod, 2 read, 4 write;   type: 1 block, 2 character
    +4  major
    +8  minor

and returns 1 (go on) or 0 (EPERM). Here: rules, their program, and loading it. Not here: other
kinds of program, maps, or which rules a container gets (labkit.rootfs).
"""

import ctypes
import errno
import os
import struct
from collections.abc import Sequence

from labkit.errors import InvalidParameter
from labkit.linux import constants as c
from labkit.linux.constants import BpfCommand
from labkit.linux.syscalls import syscall

TYPES = {"b": 1, "c": 2}  #: <linux/bpf.h> BPF_DEVCG_DEV_*
ACCESS = {"m": 1, "r": 2, "w": 4}  #: <linux/bpf.h> BPF_DEVCG_ACC_*

_PROG_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6  #: the attach type
_ALLOW_MULTI = 2  #: this cgroup's program *and* those of its ancestors must say yes
_LOG_BYTES = 65536


class DeviceRule:
    """One line of a device list, in the words of the OCI runtime-spec.

    type: "c" character, "b" block, "a" every device (then access is "rwm" and no number is given).
    access: letters of r (read), w (write), m (mknod).  major, minor: None = any number.
    """

    __slots__ = ("type", "access", "major", "minor", "allow")

    def __init__(
        self, type: str, access: str, major: int | None, minor: int | None, allow: bool
    ) -> None:
        if type not in ("a", "b", "c"):
            raise InvalidParameter(f"device type {type!r} is not one of a, b, c")
        if not access or set(access) - set(ACCESS):
            raise InvalidParameter(f"device access {access!r} is not made of r, w, m")
        if type == "a" and (major is not None or minor is not None or set(access) != set("rwm")):
            raise InvalidParameter(f"device type 'a' means all of rwm and *:*, not {access} "
                                   f"{_number(major)}:{_number(minor)}")  # fmt: skip
        for name, value, bits in (("major", major, 12), ("minor", minor, 20)):
            if value is not None and not 0 <= value < 1 << bits:
                raise InvalidParameter(f"device {name} {value} is not in 0..{(1 << bits) - 1}")
        self.type, self.access, self.allow = type, "".join(a for a in "rwm" if a in access), allow
        self.major, self.minor = major, minor

    def __str__(self) -> str:
        """As cgroup v1's devices.allow and devices.deny take it: "c 1:3 rwm"."""
        return f"{self.type} {_number(self.major)}:{_number(self.minor)} {self.access}"

    def __repr__(self) -> str:
        return f"<{'allow' if self.allow else 'deny'} {self}>"


def _number(value: int | None) -> str:
    return "*" if value is None else str(value)


# ---- rules to instructions --------------------------------------------------

#: <linux/bpf.h>: class | size or operation | source (the constant in imm, or the register src)
LDX_W = 0x61  #: dst = *(u32 *)(src + off)
MOV_X = 0xBF  #: dst = src
MOV_K = 0xB7  #: dst = imm
AND_K = 0x57  #: dst &= imm
RSH_K = 0x77  #: dst >>= imm
JEQ_K = 0x15  #: if dst == imm
JSET_K = 0x45  #: if dst & imm
JNE_K = 0x55  #: if dst != imm
EXIT = 0x95  #: return r0

RESULT, CONTEXT, TYPE, WANTED, MAJOR, MINOR = range(6)  #: registers r0 to r5, as used here

Instruction = tuple[int, int, int, int | str, int]  #: code, dst, src, off (or a label), imm


def device_program(rules: Sequence[DeviceRule]) -> bytes:
    """The eBPF program for `rules`, of which the last one that speaks decides; none: denied.

    Each letter of an access is decided by itself: WANTED holds the letters still undecided. The
    rules are asked from last to first: a denial of any of them ends it, an allowance settles its
    own, and when none is left the answer is yes.
    """
    code: list[Instruction] = [
        (LDX_W, TYPE, CONTEXT, 0, 0),
        (MOV_X, WANTED, TYPE, 0, 0),
        (AND_K, TYPE, 0, 0, 0xFFFF),
        (RSH_K, WANTED, 0, 0, 16),
        (LDX_W, MAJOR, CONTEXT, 4, 0),
        (LDX_W, MINOR, CONTEXT, 8, 0),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
    labels = {"deny": len(code), "allow": len(code) + 2}
    code += [(MOV_K, RESULT, 0, 0, 0), (EXIT, 0, 0, 0, 0)]
    if any(rule.allow for rule in rules):  # the verifier refuses instructions never reached
        code += [(MOV_K, RESULT, 0, 0, 1), (EXIT, 0, 0, 0, 0)]
    return b"".join(_encode(place, labels, *step) for place, step in enumerate(code))


def _rule(rule: DeviceRule) -> list[Instruction]:
    """Skip what the rule does not cover, then settle or refuse."""
    fields = [(TYPE, TYPES.get(rule.type)), (MAJOR, rule.major), (MINOR, rule.minor)]
    tests = [(register, value) for register, value in fields if value is not None]
    access = sum(ACCESS[letter] for letter in rule.access)
    action: list[Instruction] = [(JSET_K, WANTED, 0, "deny", access)]
    if rule.allow:
        action = [(AND_K, WANTED, 0, 0, 7 & ~access), (JEQ_K, WANTED, 0, "allow", 0)]
    length = len(tests) + len(action)
    skips = [(JNE_K, r, 0, length - n, v) for n, (r, v) in enumerate(tests, 1)]
    return [*skips, *action]


def _encode(
    place: int, labels: dict[str, int], code: int, dst: int, src: int, off: int | str, imm: int
) -> bytes:
    """struct bpf_insn; a jump counts from the instruction after it."""
    offset = labels[off] - place - 1 if isinstance(off, str) else off
    if offset >= 1 << 15:
        raise InvalidParameter("too many device rules for one program, a jump spans 32767 at most")
    return struct.pack("=BBhi", code, src << 4 | dst, offset, imm)


_TEXT = {
    LDX_W: "r{dst} = *(u32 *)(r{src} + {off})",
    MOV_X: "r{dst} = r{src}",
    MOV_K: "r{dst} = {imm}",
    AND_K: "r{dst} &= {imm:#x}",
    RSH_K: "r{dst} >>= {imm}",
    JEQ_K: "if r{dst} == {imm} goto {to}",
    JSET_K: "if r{dst} & {imm:#x} goto {to}",
    JNE_K: "if r{dst} != {imm} goto {to}",
    EXIT: "exit",
}


def describe(program: bytes) -> str:
    """The program as text, one numbered line for each instruction."""
    lines = []
    for place, (code, registers, off, imm) in enumerate(struct.iter_unpack("=BBhi", program)):
        text = _TEXT[code].format(
            dst=registers & 15, src=registers >> 4, off=off, imm=imm, to=place + 1 + off
        )
        lines.append(f"{place:4}: {text}")
    return "\n".join(lines)


# ---- loading and attaching --------------------------------------------------


def load(program: bytes) -> int:
    """BPF_PROG_LOAD: a descriptor of the program, once the kernel's verifier has accepted it.

    Needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN: EPERM. What the verifier says about a refusal
    is appended to the message.
    """
    try:
        return _load(program, b"")
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES):
            raise
    log = bytearray(_LOG_BYTES)  # only now: a log that is too short would itself be an error
    try:
        return _load(program, log)
    except OSError as error:
        said = log.rstrip(b"\0\n").decode(errors="replace") or "the verifier says nothing"
        raise OSError(error.errno, error.strerror, said) from error


def _load(program: bytes, log: bytes | bytearray) -> int:
    code, license = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"MIT")
    log_address = ctypes.addressof(ctypes.c_char.from_buffer(log)) if log else 0
    attr = struct.pack(
        "=IIQQIIQII16sII", _PROG_TYPE_CGROUP_DEVICE, len(program) // 8,
        ctypes.addressof(code), ctypes.addressof(license), bool(log), len(log), log_address,
        0, 0, b"labkit_devices", 0, _CGROUP_DEVICE,
    )  # fmt: skip
    return _bpf(BpfCommand.PROG_LOAD, attr)


def attach(cgroup_fd: int, program: bytes) -> None:
    """Make `program` this cgroup's only device program; `cgroup_fd` is its open v2 directory.

    The new program is attached before the old ones go, so no device is open in between. It stays
    until detach() or until the cgroup is removed. Programs of ancestors keep their say.
    """
    old = attached(cgroup_fd)
    fd = load(program)
    try:
        _bpf(BpfCommand.PROG_ATTACH, struct.pack("=IIII", cgroup_fd, fd, _CGROUP_DEVICE,
                                                 _ALLOW_MULTI))  # fmt: skip
    finally:
        os.close(fd)
    _detach(cgroup_fd, old)


def detach(cgroup_fd: int) -> None:
    """Take every device program off this cgroup; none is no error."""
    _detach(cgroup_fd, attached(cgroup_fd))


def attached(cgroup_fd: int) -> list[int]:
    """The ids of the device programs attached to this very cgroup (`bpftool prog show id N`)."""
    ids = (ctypes.c_uint32 * 64)()
    attr = struct.pack("=IIIIQI", cgroup_fd, _CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), len(ids))
    answer = ctypes.create_string_buffer(attr, 64)
    _bpf(BpfCommand.PROG_QUERY, answer)
    count = struct.unpack_from("=I", answer, 24)[0]
    return list(ids[:count])


def _detach(cgroup_fd: int, ids: list[int]) -> None:
    for number in ids:
        fd = _bpf(BpfCommand.PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))
        try:
            _bpf(BpfCommand.PROG_DETACH, struct.pack("=IIII", cgroup_fd, fd, _CGROUP_DEVICE, 0))
        finally:
            os.close(fd)


def _bpf(command: BpfCommand, attr: "bytes | ctypes.Array[ctypes.c_char]") -> int:
    """bpf(2). A buffer is needed where the kernel writes its answer into the attributes."""
    raw = attr if isinstance(attr, bytes) else ctypes.addressof(attr)
    return syscall(c.nr("bpf"), command, raw, len(attr), what=command.name)
