"""Device rules as eBPF, run by a small interpreter; tests/kernel loads them really."""

import itertools
import random
import struct

import pytest

from labkit.errors import InvalidParameter
from labkit.linux import bpf
from labkit.linux.bpf import ACCESS, TYPES, DeviceRule

DENY_ALL = DeviceRule("a", "rwm", None, None, False)
ALLOW_ALL = DeviceRule("a", "rwm", None, None, True)


def run(program: bytes, type: str, access: str, major: int, minor: int) -> bool:
    """What the kernel would answer: is this use of a device allowed?"""
    wanted = sum(ACCESS[letter] for letter in access)
    context = struct.pack("=III", wanted << 16 | TYPES[type], major, minor)
    code = list(struct.iter_unpack("=BBhi", program))
    r = [0] * 6
    at = 0
    while True:
        op, registers, off, imm = code[at]
        dst, src = registers & 15, registers >> 4
        at += 1
        if op == bpf.EXIT:
            return bool(r[bpf.RESULT])
        if op == bpf.LDX_W:
            r[dst] = struct.unpack_from("=I", context, off)[0]
        elif op in (bpf.MOV_K, bpf.MOV_X):
            r[dst] = imm if op == bpf.MOV_K else r[src]
        elif op == bpf.AND_K:
            r[dst] &= imm
        elif op == bpf.RSH_K:
            r[dst] >>= imm
        else:
            holds = {bpf.JEQ_K: r[dst] == imm, bpf.JNE_K: r[dst] != imm, bpf.JSET_K: r[dst] & imm}
            at += off if holds[op] else 0


def expected(rules: list[DeviceRule], type: str, access: str, major: int, minor: int) -> bool:
    """The list read by the letter: for each letter the last rule that covers it."""

    def one(letter: str) -> bool:
        for rule in reversed(rules):
            if (
                rule.type in ("a", type)
                and letter in rule.access
                and rule.major in (None, major)
                and rule.minor in (None, minor)
            ):
                return rule.allow
        return False

    return all(one(letter) for letter in access)


def test_nothing_is_allowed_without_a_rule() -> None:
    assert not run(bpf.device_program([]), "c", "r", 1, 3)


def test_a_later_rule_wins() -> None:
    null = DeviceRule("c", "rwm", 1, 3, True)
    assert run(bpf.device_program([DENY_ALL, null]), "c", "rw", 1, 3)
    assert not run(bpf.device_program([null, DENY_ALL]), "c", "rw", 1, 3)


def test_each_letter_is_decided_by_itself() -> None:
    program = bpf.device_program([ALLOW_ALL, DeviceRule("c", "w", 1, 3, False)])
    assert run(program, "c", "r", 1, 3)
    assert not run(program, "c", "w", 1, 3)
    assert not run(program, "c", "rw", 1, 3)


def test_letters_of_several_rules_add_up() -> None:
    rules = [DeviceRule("c", "r", 1, 3, True), DeviceRule("c", "w", 1, None, True)]
    program = bpf.device_program(rules)
    assert run(program, "c", "rw", 1, 3)
    assert not run(program, "c", "rw", 1, 4)
    assert not run(program, "b", "w", 1, 3)


@pytest.mark.parametrize("seed", range(20))
def test_random_lists_do_what_they_say(seed: int) -> None:
    draw = random.Random(seed)

    def rule() -> DeviceRule:
        if draw.random() < 0.1:
            return draw.choice([DENY_ALL, ALLOW_ALL])
        access = draw.choice(["r", "w", "m", "rw", "rm", "wm", "rwm"])
        major, minor = draw.choice([None, 1, 2]), draw.choice([None, 1, 2])
        return DeviceRule(draw.choice("bc"), access, major, minor, draw.random() < 0.5)

    rules = [rule() for _ in range(draw.randint(0, 8))]
    program = bpf.device_program(rules)
    accesses = ["r", "w", "m", "rw"]
    for use in itertools.product("bc", accesses, (1, 2, 3), (1, 2, 3)):
        assert run(program, *use) == expected(rules, *use), (rules, use)


def test_a_rule_is_written_as_cgroup_v1_takes_it() -> None:
    assert str(DeviceRule("c", "mwr", 5, None, True)) == "c 5:* rwm"
    assert str(DENY_ALL) == "a *:* rwm"
    assert repr(DENY_ALL) == "<deny a *:* rwm>"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("d", "r", 1, 3), "device type 'd' is not one of a, b, c"),
        (("c", "", 1, 3), "device access '' is not made of r, w, m"),
        (("c", "rx", 1, 3), "device access 'rx' is not made of r, w, m"),
        (("c", "r", -1, 3), r"device major -1 is not in 0..4095"),
        (("c", "r", 1, 1 << 20), r"device minor 1048576 is not in 0..1048575"),
        (("a", "r", None, None), r"means all of rwm and \*:\*, not r \*:\*"),
        (("a", "rwm", 1, None), r"means all of rwm and \*:\*, not rwm 1:\*"),
    ],
)
def test_what_can_never_be_right_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        DeviceRule(*arguments, allow=True)


def test_a_list_too_long_for_one_program_is_refused() -> None:
    rules = [DeviceRule("c", "r", 1, minor, True) for minor in range(8000)]
    with pytest.raises(InvalidParameter, match="too many device rules"):
        bpf.device_program(rules)


def test_a_program_is_told_in_words() -> None:
    rules = [DeviceRule("c", "rw", 1, 3, True), DeviceRule("b", "m", None, None, False)]
    assert bpf.describe(bpf.device_program(rules)).splitlines() == [
        "   0: r2 = *(u32 *)(r1 + 0)",
        "   1: r3 = r2",
        "   2: r2 &= 0xffff",
        "   3: r3 >>= 16",
        "   4: r4 = *(u32 *)(r1 + 4)",
        "   5: r5 = *(u32 *)(r1 + 8)",
        "   6: if r2 != 1 goto 8",
        "   7: if r3 & 0x1 goto 13",
        "   8: if r2 != 2 goto 13",
        "   9: if r4 != 1 goto 13",
        "  10: if r5 != 3 goto 13",
        "  11: r3 &= 0x1",
        "  12: if r3 == 0 goto 15",
        "  13: r0 = 0",
        "  14: exit",
        "  15: r0 = 1",
        "  16: exit",
    ]
