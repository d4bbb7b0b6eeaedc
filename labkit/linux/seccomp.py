"""seccomp(2): a profile of system calls, compiled to the classic BPF program that the kernel runs.

At each system call the kernel gives the program one struct seccomp_data and does what the program
returns: an action in the upper 16 bits, its data (an errno, a number for a tracer) in the lower 16.

    +0   nr                    the number, which means nothing without
    +4   arch                  AUDIT_ARCH_*
    +8   instruction_pointer
    +16  args[0..5]            64 bits each; the program reads 32 at a time, pointers stay pointers

Here: profiles, the compiler, installing. Not here: Docker's profile; a program in words
(seccomp_text) and the supervisor's side of USER_NOTIF (seccomp_notify). The language is the one of
<linux/filter.h>, see the kernel's networking/filter documentation. No libseccomp: with it, building
Docker's profile costs more than the rest of a container's start.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from enum import IntEnum, IntFlag

from labkit.errors import InvalidParameter, Unsupported
from labkit.linux import constants as c
from labkit.linux.syscall_table import numbers
from labkit.linux.syscalls import syscall

# ---- what a profile says ----------------------------------------------------


class Action(IntEnum):
    """<linux/seccomp.h> SECCOMP_RET_*; ERRNO and TRACE take 16 bits of data: ERRNO | EPERM."""

    KILL_PROCESS = 0x80000000  #: the process dies by SIGSYS
    KILL_THREAD = 0x00000000  #: the thread does
    TRAP = 0x00030000  #: SIGSYS, which can be caught
    ERRNO = 0x00050000  #: the call is not made and fails with the errno in the data
    USER_NOTIF = 0x7FC00000  #: a supervisor answers in the kernel's place, seccomp_unotify(2)
    TRACE = 0x7FF00000  #: a ptrace(2) tracer decides; without one the call fails with ENOSYS
    LOG = 0x7FFC0000  #: the call is made and logged
    ALLOW = 0x7FFF0000  #: the call is made


class Op(IntEnum):
    """How an argument is compared with a value; unsigned, 64 bits."""

    NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(1, 8)


MAX_CONDITIONS = 32  #: of one rule: more could be too far to jump over


class Arg:
    """A condition on one argument: args[index] op value, or (args[index] & mask) == value."""

    __slots__ = ("index", "op", "value", "mask")

    def __init__(self, index: int, op: Op, value: int, mask: int | None = None) -> None:
        if not 0 <= index <= 5:
            raise InvalidParameter(f"system call argument {index} is not in 0..5")
        for number in (value, 0 if mask is None else mask):
            if not 0 <= number < 1 << 64:
                raise InvalidParameter(f"{number} is not an unsigned 64-bit number")
        if (op is Op.MASKED_EQ) != (mask is not None):
            raise InvalidParameter(f"{op.name} with mask {mask}: MASKED_EQ and only it has one")
        self.index, self.op, self.value = index, op, value
        self.mask = mask


class Rule:
    """`action` for the calls named, if all conditions hold."""

    __slots__ = ("names", "action", "args")

    def __init__(self, names: Iterable[str], action: int, args: Iterable[Arg] = ()) -> None:
        self.names, self.action, self.args = tuple(names), _action(action), tuple(args)
        if len(self.args) > MAX_CONDITIONS:
            raise InvalidParameter(f"{len(self.args)} conditions, at most {MAX_CONDITIONS} fit")


class Profile:
    """The first rule that names the call and whose conditions hold decides, else `default`.

    architectures: machines as uname(2) spells them; calls made for any other kill the process, so
    do x32 calls on x86-64 (their numbers pass for others').
    """

    __slots__ = ("default", "rules", "architectures")

    def __init__(
        self, default: int, rules: Iterable[Rule], architectures: Iterable[str] | None = None
    ) -> None:
        self.default, self.rules = _action(default), tuple(rules)
        self.architectures = (
            (os.uname().machine,) if architectures is None else tuple(architectures)
        )
        for machine in self.architectures or ("none",):
            if machine not in AUDIT_ARCH:
                raise Unsupported(f"seccomp for {machine}: known are {', '.join(AUDIT_ARCH)}")

    def unknown(self) -> list[str]:
        """Names that none of the architectures has, in the profile's order."""
        known: set[str] = set().union(*(numbers(machine) for machine in self.architectures))
        return [name for rule in self.rules for name in rule.names if name not in known]


def _action(value: int) -> int:
    """Refuses also data where none belongs, such as a bare errno without ERRNO."""
    kind, data = value & 0xFFFF0000, value & 0xFFFF
    with_data = kind in (Action.ERRNO, Action.TRACE, Action.TRAP)
    if value < 0 or value >> 32 or kind not in list(Action) or data and not with_data:
        raise InvalidParameter(f"{value:#x} is no seccomp action")
    return int(value)


# ---- the compiler -----------------------------------------------------------

#: <linux/audit.h> AUDIT_ARCH_*
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000  #: <asm/unistd.h> __X32_SYSCALL_BIT
MAX_INSTRUCTIONS = 4096  #: <linux/bpf_common.h> BPF_MAXINSNS

#: <linux/bpf_common.h>: class | size or operation | mode or source
LD, AND, JA, JEQ, JGT, JGE, RET = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06

#: code, jt, jf, k: if the comparison holds skip jt instructions, else jf
Instruction = tuple[int, int, int, int]
#: a piece of program that can stand anywhere, because every way through it ends in a RET
Block = list[Instruction]

YES, NO = -1, -2  #: jump targets inside a condition: it holds, it does not


def compile_profile(profile: Profile, *, skip_unknown: bool = False) -> bytes:
    """The program, 8 bytes an instruction (struct sock_filter).

    InvalidParameter for a name that no architecture of the profile has (unless `skip_unknown`: the
    name is then treated as the default is), and for more than 4096 instructions.
    """
    if not skip_unknown and (unknown := profile.unknown()):
        raise InvalidParameter(f"unknown system calls: {', '.join(unknown)}")
    block: Block = [_ret(Action.KILL_PROCESS)]
    for machine in reversed(profile.architectures):
        block = _branch(JEQ, AUDIT_ARCH[machine], _machine(profile, machine), block)
    block = [_load(4), *block]
    if len(block) > MAX_INSTRUCTIONS:
        raise InvalidParameter(f"{len(block)} instructions, the kernel takes {MAX_INSTRUCTIONS}")
    return b"".join(struct.pack("=HBBI", *step) for step in block)


def _load(offset: int) -> Instruction:
    return (LD, 0, 0, offset)


def _ret(action: int) -> Instruction:
    return (RET, 0, 0, action)


def _branch(code: int, k: int, yes: Block, no: Block) -> Block:
    """If the comparison holds `yes`, else `no`, which stands right behind the jump.

    jt and jf have 8 bits. A longer way is taken by JA, whose k has 32.
    """
    if len(no) <= 255:
        return [(code, len(no), 0, k), *no, *yes]
    return [(code, 0, 1, k), (JA, 0, 0, len(no)), *no, *yes]


def _machine(profile: Profile, machine: str) -> Block:
    """Find the call's number among ranges of numbers that are treated alike, by halving."""
    ranges = _ranges(profile, numbers(machine))
    tree = _tree([(first, _chain(rules, profile.default)) for first, rules in ranges])
    if machine == "x86_64":  # -1 is no x32 call: a tracer skips calls so
        tree = _branch(JGE, X32_BIT, [(JEQ, 1, 0, 0xFFFFFFFF), _ret(Action.KILL_PROCESS),
                                      _ret(profile.default)], tree)  # fmt: skip
    return [_load(0), *tree]


def _ranges(profile: Profile, known: dict[str, int]) -> list[tuple[int, tuple[Rule, ...]]]:
    """(first number, rules for it and the ones after it); covers every number from 0 on."""
    by_number: dict[int, list[Rule]] = {}
    for rule in profile.rules:
        for name in dict.fromkeys(rule.names):
            if name in known:
                by_number.setdefault(known[name], []).append(rule)
    ranges: list[tuple[int, tuple[Rule, ...]]] = []
    for number in sorted({0, *by_number, *(n + 1 for n in by_number)}):
        rules = tuple(by_number.get(number, ()))
        if not ranges or _outcome(ranges[-1][1], profile) != _outcome(rules, profile):
            ranges.append((number, rules))
    return ranges


def _outcome(rules: tuple[Rule, ...], profile: Profile) -> object:
    """Equal for rules that do the same: the action where nothing depends on arguments."""
    first = rules[0] if rules else Rule((), profile.default)
    return first.action if not first.args else rules


def _tree(leaves: list[tuple[int, Block]]) -> Block:
    """A binary search: the left half for smaller numbers, the right half for the rest."""
    if len(leaves) == 1:
        return leaves[0][1]
    middle = len(leaves) // 2
    left, right = _tree(leaves[:middle]), _tree(leaves[middle:])
    return _branch(JGE, leaves[middle][0], right, left)


def _chain(rules: tuple[Rule, ...], default: int) -> Block:
    """The rules for one call, one after the other; a rule without conditions ends it."""
    block: Block = [_ret(default)]
    for rule in reversed(rules):
        tests = [_test(arg) for arg in rule.args]
        block = [*_all_hold(tests), _ret(rule.action), *block] if tests else [_ret(rule.action)]
    return block


def _all_hold(tests: list[Block]) -> Block:
    """All tests one after the other; where one fails, over the RET that follows."""
    block: Block = []
    for test in reversed(tests):
        size = len(test) + len(block)
        # YES goes to the end of this test, NO behind the RET that follows all of them
        targets = [{YES: len(test) - at - 1, NO: size - at} for at in range(len(test))]
        block = [
            (code, to.get(jt, jt), to.get(jf, jf), k)
            for to, (code, jt, jf, k) in zip(targets, test, strict=True)
        ] + block
    return block


def _test(arg: Arg) -> Block:
    """One 64-bit comparison: the upper half decides, or the lower one when it is equal."""
    low_at = 16 + 8 * arg.index  # little-endian, as both architectures are
    high, low = arg.value >> 32, arg.value & 0xFFFFFFFF
    if arg.op is Op.EQ or arg.mask is not None:
        mask = (1 << 64) - 1 if arg.mask is None else arg.mask
        masks = [(AND, 0, 0, half) for half in (mask >> 32, mask & 0xFFFFFFFF)]
        high_and, low_and = (masks[:1], masks[1:]) if arg.mask is not None else ([], [])
        return [_load(low_at + 4), *high_and, (JEQ, 0, NO, high),
                _load(low_at), *low_and, (JEQ, YES, NO, low)]  # fmt: skip
    if arg.op is Op.NE:
        return [_load(low_at + 4), (JEQ, 0, YES, high), _load(low_at), (JEQ, NO, YES, low)]
    above = YES if arg.op in (Op.GT, Op.GE) else NO
    below = NO if above == YES else YES
    code = JGT if arg.op in (Op.GT, Op.LE) else JGE
    return [_load(low_at + 4), (JGT, above, 0, high), (JEQ, 0, below, high),
            _load(low_at), (code, above, below, low)]  # fmt: skip


# ---- installing -------------------------------------------------------------


class FilterFlag(IntFlag):
    """<linux/seccomp.h> SECCOMP_FILTER_FLAG_*."""

    TSYNC = 1  #: all threads of the process
    LOG = 2  #: log every action but ALLOW
    SPEC_ALLOW = 4  #: no mitigation of speculative store bypass
    NEW_LISTENER = 8  #: return a descriptor for USER_NOTIF


_SET_MODE_FILTER = 1


def install(program: bytes, flags: int = 0) -> int:
    """seccomp(2), SECCOMP_SET_MODE_FILTER: from now on, for this thread and its children, for ever.

    The caller has set PR_SET_NO_NEW_PRIVS or has CAP_SYS_ADMIN (else EACCES). Returns 0, with
    NEW_LISTENER the listener's descriptor. A program that can never be valid is EINVAL.
    """
    code = ctypes.create_string_buffer(program, len(program))
    count = len(program) // 8
    fprog = struct.pack("@HP", count, ctypes.addressof(code))  # struct sock_fprog
    return syscall(c.nr("seccomp"), _SET_MODE_FILTER, flags, fprog, what=f"{count} instructions")
