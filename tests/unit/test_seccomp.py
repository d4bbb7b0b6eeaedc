"""The seccomp compiler, its programs run by a small interpreter; tests/kernel runs them really."""

import errno
import random
import struct

import pytest

from labkit.errors import InvalidParameter, Unsupported
from labkit.linux import seccomp, seccomp_text
from labkit.linux.seccomp import AUDIT_ARCH, Action, Arg, Op, Profile, Rule
from labkit.linux.syscall_table import numbers

X86, ARM = "x86_64", "aarch64"
EPERM = Action.ERRNO | errno.EPERM


def run(program: bytes, nr: int, args: tuple[int, ...] = (), arch: int = AUDIT_ARCH[X86]) -> int:
    """What the kernel's interpreter would return for one call."""
    data = struct.pack("=IIQ6Q", nr, arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    at, a = 0, 0
    while True:
        op, jt, jf, k = code[at]
        at += 1
        if op == seccomp.RET:
            return k
        if op == seccomp.LD:
            a = struct.unpack_from("=I", data, k)[0]
        elif op == seccomp.AND:
            a &= k
        elif op == seccomp.JA:
            at += k
        else:
            holds = {seccomp.JEQ: a == k, seccomp.JGT: a > k, seccomp.JGE: a >= k}[op]
            at += jt if holds else jf


def expected(profile: Profile, name: str, args: tuple[int, ...]) -> int:
    """The profile read by the letter."""
    compare = {
        Op.NE: lambda a, v: a != v, Op.LT: lambda a, v: a < v, Op.LE: lambda a, v: a <= v,
        Op.EQ: lambda a, v: a == v, Op.GE: lambda a, v: a >= v, Op.GT: lambda a, v: a > v,
    }  # fmt: skip
    for rule in profile.rules:
        if name in rule.names and all(
            args[c.index] & c.mask == c.value if c.mask is not None
            else compare[c.op](args[c.index], c.value)
            for c in rule.args
        ):  # fmt: skip
            return rule.action
    return profile.default


def one(rule: Rule, default: int = Action.ALLOW) -> bytes:
    return seccomp.compile_profile(Profile(default, [rule], [X86]))


def test_a_named_call_gets_the_rules_action_and_others_the_default() -> None:
    program = one(Rule(["mkdir", "rmdir"], EPERM))
    assert run(program, 83) == run(program, 84) == EPERM
    assert run(program, 82) == run(program, 85) == run(program, 0) == Action.ALLOW


def test_another_architecture_is_killed() -> None:
    program = one(Rule(["mkdir"], EPERM))
    i386 = 0x40000003
    assert run(program, 83, arch=i386) == Action.KILL_PROCESS
    assert run(program, 83, arch=AUDIT_ARCH[ARM]) == Action.KILL_PROCESS


def test_x32_calls_are_killed_but_not_the_number_minus_one() -> None:
    program = one(Rule(["mkdir"], EPERM))
    assert run(program, seccomp.X32_BIT | 83) == Action.KILL_PROCESS
    assert run(program, 0xFFFFFFFE) == Action.KILL_PROCESS
    assert run(program, 0xFFFFFFFF) == Action.ALLOW


def test_each_architecture_has_its_own_numbers() -> None:
    program = seccomp.compile_profile(
        Profile(Action.ALLOW, [Rule(["openat", "mkdir"], EPERM)], [X86, ARM])
    )
    assert run(program, 257) == run(program, 83) == EPERM
    assert run(program, 56, arch=AUDIT_ARCH[ARM]) == EPERM
    assert run(program, 257, arch=AUDIT_ARCH[ARM]) == Action.ALLOW
    assert run(program, 56) == Action.ALLOW


BIG = 0x1_0000_0002
EDGES = (0, 1, 2, 3, BIG - 1, BIG, BIG + 1, 0x2_0000_0000, 0x2_0000_0002, (1 << 64) - 1)


@pytest.mark.parametrize("op", [op for op in Op if op is not Op.MASKED_EQ])
@pytest.mark.parametrize("value", EDGES)
def test_comparisons_are_unsigned_and_64_bits_wide(op: Op, value: int) -> None:
    profile = Profile(Action.ALLOW, [Rule(["read"], EPERM, [Arg(3, op, value)])], [X86])
    program = seccomp.compile_profile(profile)
    for actual in EDGES:
        args = (0, 0, 0, actual, 0, 0)
        assert run(program, 0, args) == expected(profile, "read", args), actual


def test_a_mask_picks_bits_of_both_halves() -> None:
    mask = 0x1_0000_0003
    program = one(Rule(["read"], EPERM, [Arg(5, Op.MASKED_EQ, 0x1_0000_0001, mask)]))
    assert run(program, 0, (0, 0, 0, 0, 0, 0x1_0000_0001)) == EPERM
    assert run(program, 0, (0, 0, 0, 0, 0, 0xFFFF_FFFF_FFFF_FFFD)) == EPERM
    assert run(program, 0, (0, 0, 0, 0, 0, 0x0_0000_0001)) == Action.ALLOW
    assert run(program, 0, (0, 0, 0, 0, 0, 0x1_0000_0003)) == Action.ALLOW


def test_all_conditions_of_a_rule_must_hold() -> None:
    program = one(Rule(["read"], EPERM, [Arg(0, Op.NE, 1), Arg(0, Op.LT, 9), Arg(2, Op.GT, 4)]))
    assert run(program, 0, (2, 0, 5)) == EPERM
    assert run(program, 0, (1, 0, 5)) == Action.ALLOW
    assert run(program, 0, (9, 0, 5)) == Action.ALLOW
    assert run(program, 0, (2, 0, 4)) == Action.ALLOW


def test_the_first_rule_that_holds_decides() -> None:
    rules = [
        Rule(["read"], Action.LOG, [Arg(0, Op.EQ, 1)]),
        Rule(["read"], Action.TRAP, [Arg(0, Op.LE, 2)]),
        Rule(["read"], EPERM),
        Rule(["read"], Action.KILL_PROCESS),
    ]
    program = seccomp.compile_profile(Profile(Action.ALLOW, rules, [X86]))
    outcomes = [run(program, 0, (value,)) for value in (1, 2, 3)]
    assert outcomes == [Action.LOG, Action.TRAP, EPERM]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("machine", [X86, ARM])
def test_random_profiles_do_what_they_say_for_every_call(seed: int, machine: str) -> None:
    draw = random.Random(seed)
    names = sorted(numbers(machine))
    actions = [Action.ALLOW, EPERM, Action.TRAP, Action.LOG, Action.TRACE | 7]

    def condition() -> Arg:
        op = draw.choice(list(Op))
        mask = draw.choice(EDGES) if op is Op.MASKED_EQ else None
        value = draw.choice(EDGES) & (mask if mask is not None else -1)
        return Arg(draw.randrange(6), op, value, mask)

    rules = [
        Rule(
            draw.sample(names, draw.randint(1, 20)),
            draw.choice(actions),
            [condition() for _ in range(draw.choice((0, 0, 1, 2, 6)))],
        )
        for _ in range(draw.randint(1, 6))
    ]
    profile = Profile(draw.choice(actions), rules, [ARM, X86] if seed % 2 else [machine])
    program = seccomp.compile_profile(profile, skip_unknown=True)
    for name, nr in numbers(machine).items():
        args = tuple(draw.choice(EDGES) for _ in range(6))
        got = run(program, nr, args, AUDIT_ARCH[machine])
        assert got == expected(profile, name, args), name


def test_a_program_longer_than_a_short_jump_is_right() -> None:
    names = sorted(numbers(X86))[::2]
    rules = [
        Rule([name], Action.ERRNO | number + 1, [Arg(0, Op.EQ, number)])
        for number, name in enumerate(names)
    ]
    profile = Profile(Action.ALLOW, rules, [X86])
    program = seccomp.compile_profile(profile)
    assert len(program) // 8 > 1000
    for number, name in enumerate(names):
        assert run(program, numbers(X86)[name], (number,)) == Action.ERRNO | number + 1
        assert run(program, numbers(X86)[name], (number + 1,)) == Action.ALLOW


def test_a_search_takes_few_steps_not_one_for_each_call() -> None:
    rules = [Rule(sorted(numbers(X86))[::2], Action.ALLOW)]
    text = seccomp_text.disassemble(seccomp.compile_profile(Profile(EPERM, rules, [X86])))
    assert len(text.splitlines()) < 600


def test_too_many_instructions_are_refused_by_number() -> None:
    names = sorted(numbers(X86))
    rules = [Rule([n], EPERM, [Arg(i, Op.EQ, BIG) for i in range(6)]) for n in names]
    with pytest.raises(InvalidParameter, match=r"\d+ instructions, the kernel takes 4096"):
        seccomp.compile_profile(Profile(Action.ALLOW, rules, [X86]))


def test_unknown_calls_are_named_or_left_out() -> None:
    profile = Profile(Action.ALLOW, [Rule(["mkdir", "frob", "fnord"], EPERM)], [X86])
    with pytest.raises(InvalidParameter, match="unknown system calls: frob, fnord"):
        seccomp.compile_profile(profile)
    assert run(seccomp.compile_profile(profile, skip_unknown=True), 83) == EPERM


def test_a_call_of_only_one_architecture_is_known_when_that_is_asked_for() -> None:
    both = Profile(Action.ALLOW, [Rule(["open"], EPERM)], [X86, ARM])
    assert both.unknown() == []
    assert Profile(Action.ALLOW, both.rules, [ARM]).unknown() == ["open"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arg(6, Op.EQ, 0), "argument 6 is not in 0..5"),
        (lambda: Arg(0, Op.EQ, -1), "-1 is not an unsigned 64-bit number"),
        (lambda: Arg(0, Op.EQ, 1 << 64), "is not an unsigned 64-bit number"),
        (lambda: Arg(0, Op.EQ, 1, 3), "EQ with mask 3"),
        (lambda: Arg(0, Op.MASKED_EQ, 1), "MASKED_EQ with mask None"),
        (lambda: Rule(["read"], errno.EIO), "0x5 is no seccomp action"),
        (lambda: Rule(["read"], Action.ALLOW | 5), "0x7fff0005 is no seccomp action"),
        (lambda: Rule(["read"], 0x12340000), "0x12340000 is no seccomp action"),
        (lambda: Profile(1 << 32, []), "0x100000000 is no seccomp action"),
        (lambda: Rule(["read"], 0, [Arg(0, Op.EQ, 1)] * 33), "33 conditions, at most 32 fit"),
    ],
)
def test_what_can_never_be_right_is_refused(make, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        make()


@pytest.mark.parametrize("machines", [["riscv64"], []])
def test_an_architecture_without_a_table_is_refused(machines: list[str]) -> None:
    with pytest.raises(Unsupported, match="known are x86_64, aarch64"):
        Profile(Action.ALLOW, [], machines)


def test_a_profile_is_told_in_words() -> None:
    rules = [
        Rule(["mkdir", "rmdir"], EPERM),
        Rule(["clone"], Action.TRACE | 7, [Arg(0, Op.MASKED_EQ, 0, 0x7E020000), Arg(1, Op.NE, 2)]),
    ]
    assert seccomp_text.describe(Profile(Action.ALLOW, rules, [X86])).splitlines() == [
        "on x86_64; for any other machine KILL_PROCESS",
        "ERRNO EPERM: mkdir rmdir",
        "TRACE 7: clone if args[0] & 0x7e020000 == 0x0 and args[1] != 0x2",
        "ALLOW: everything else",
    ]


def test_a_program_is_told_in_words() -> None:
    assert seccomp_text.disassemble(one(Rule(["mkdir"], EPERM))).splitlines() == [
        "   0: A = arch",
        "   1: if A == x86_64 goto 3 else 2",
        "   2: return KILL_PROCESS",
        "   3: A = nr",
        "   4: if A >= 0x40000000 goto 10 else 5",
        "   5: if A >= mkdir goto 7 else 6",
        "   6: return ALLOW",
        "   7: if A >= rmdir goto 9 else 8",
        "   8: return ERRNO EPERM",
        "   9: return ALLOW",
        "  10: if A == 0xffffffff goto 12 else 11",
        "  11: return KILL_PROCESS",
        "  12: return ALLOW",
    ]


def test_two_machines_in_one_program_are_told_apart() -> None:
    profile = Profile(Action.ALLOW, [Rule(["openat"], EPERM, [Arg(2, Op.GT, BIG)])], [X86, ARM])
    text = seccomp_text.disassemble(seccomp.compile_profile(profile))
    assert "if A == aarch64" in text and "if A == x86_64" in text
    assert text.count("if A >= openat") == 2
    assert "A = args[2], upper half" in text
