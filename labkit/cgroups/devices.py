"""Device rules as cgroup v1's devices.allow and devices.deny can hold them.

v2 needs nothing here: labkit.linux.bpf makes a program of the rules, which says exactly what they
say. v1 has a default (all or nothing) and a list of exceptions to it, all of one kind, and a rule
against the default takes an exception away only if it is equal (admin-guide/cgroup-v1/devices).
"""

from labkit.errors import Unsupported
from labkit.linux.bpf import DeviceRule


def v1_writes(rules: list[DeviceRule]) -> list[tuple[str, str]]:
    """(file, value) for "nothing but `rules`"; Unsupported for a rule v1 would not follow."""
    writes = [("devices.deny", "a")]
    default, exceptions = False, list[DeviceRule]()
    for rule in rules:
        if rule.type == "a":
            default, exceptions = rule.allow, []
        elif rule.allow != default:
            exceptions.append(rule)
        else:
            _check(rule, exceptions)
        writes.append(("devices.allow" if rule.allow else "devices.deny", _text(rule)))
    return writes


def _text(rule: DeviceRule) -> str:
    return "a" if rule.type == "a" else str(rule)


def _check(rule: DeviceRule, exceptions: list[DeviceRule]) -> None:
    """A rule that returns to the default must not cut a piece out of an earlier one."""
    for earlier in exceptions:
        if _overlap(rule, earlier) and _numbers(rule) != _numbers(earlier):
            raise Unsupported(
                f"cgroup v1 cannot hold {rule!r} after {earlier!r}: the numbers must be equal"
            )


def _numbers(rule: DeviceRule) -> tuple[str, int | None, int | None]:
    return rule.type, rule.major, rule.minor


def _overlap(one: DeviceRule, other: DeviceRule) -> bool:
    return one.type == other.type and all(
        a is None or b is None or a == b
        for a, b in ((one.major, other.major), (one.minor, other.minor))
    )
