"""Seccomp profiles and programs in words, for people.

`describe` shows what was asked for, `disassemble` what labkit.linux.seccomp made of it: one line
for each instruction, with the field that is loaded, and the machine or call that a number means.
"""

import errno
import struct

from labkit.linux import seccomp
from labkit.linux.seccomp import AUDIT_ARCH, Action, Arg, Op, Profile
from labkit.linux.syscall_table import numbers

_FIELDS = {0: "nr", 4: "arch", 8: "instruction_pointer, lower half", 12: "its upper half"}
_TEXT = {
    seccomp.LD: "A = {field}",
    seccomp.AND: "A &= {k:#x}",
    seccomp.JA: "goto {ja}",
    seccomp.JEQ: "if A == {value} goto {jt} else {jf}",
    seccomp.JGT: "if A > {value} goto {jt} else {jf}",
    seccomp.JGE: "if A >= {value} goto {jt} else {jf}",
    seccomp.RET: "return {action}",
}
_SIGNS = {Op.NE: "!=", Op.LT: "<", Op.LE: "<=", Op.EQ: "==", Op.GE: ">=", Op.GT: ">"}


def action_name(value: int) -> str:
    """ALLOW, "ERRNO EPERM", "TRACE 7", ..."""
    name, data = Action(value & 0xFFFF0000).name, value & 0xFFFF
    if name == "ERRNO":
        return f"ERRNO {errno.errorcode.get(data, data)}"
    return f"{name} {data}" if data else name


def describe(profile: Profile) -> str:
    """One line for each rule, in the order in which they are asked, then the default."""
    lines = [f"on {', '.join(profile.architectures)}; for any other machine KILL_PROCESS"]
    for rule in profile.rules:
        when = " and ".join(_condition(arg) for arg in rule.args)
        lines.append(f"{action_name(rule.action)}: {' '.join(rule.names)}{when and ' if ' + when}")
    return "\n".join([*lines, f"{action_name(profile.default)}: everything else"])


def _condition(arg: Arg) -> str:
    if arg.mask is not None:
        return f"args[{arg.index}] & {arg.mask:#x} == {arg.value:#x}"
    return f"args[{arg.index}] {_SIGNS[arg.op]} {arg.value:#x}"


def disassemble(program: bytes) -> str:
    """The program as text, one numbered line for each instruction."""
    lines, field, machines = [], "", list[str]()
    names: dict[int, str] = {}
    for at, (code, jt, jf, k) in enumerate(struct.iter_unpack("=HBBI", program)):
        if code == seccomp.LD:
            field = _FIELDS.get(k) or f"args[{(k - 16) // 8}], {'upper' if k % 8 else 'lower'} half"
            if field == "arch":
                names = {arch: machine for machine, arch in AUDIT_ARCH.items()}
            elif field == "nr":  # a machine's part; the last one asked for comes first
                names = {number: name for name, number in numbers(machines.pop()).items()}
        if field == "arch" and k in names:
            machines.append(names[k])
        text = _TEXT[code].format(
            field=field,
            k=k,
            value=names.get(k, f"{k:#x}") if field in ("arch", "nr") else f"{k:#x}",
            action=action_name(k) if code == seccomp.RET else "",
            ja=at + 1 + k,
            jt=at + 1 + jt,
            jf=at + 1 + jf,
        )
        lines.append(f"{at:4}: {text}")
    return "\n".join(lines)
