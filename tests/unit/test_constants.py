"""The numbers: named once, agreeing with each other and with what Python itself knows."""

import enum
import inspect
import os
import select
import socket

import pytest

from labkit.linux import bpf, constants, syscall_table
from labkit.linux.rtnetlink import Rtm

FAMILIES = [
    family
    for _, family in inspect.getmembers(constants, inspect.isclass)
    if issubclass(family, enum.IntEnum | enum.IntFlag) and family.__module__ == constants.__name__
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_each_family_names_its_header_and_man_page(family: type) -> None:
    assert "<" in family.__doc__ and ".h>" in family.__doc__
    assert "(2)" in family.__doc__ or "(7)" in family.__doc__


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_no_number_has_two_names(family: type[enum.Enum]) -> None:
    assert len(family.__members__) == len(set(family.__members__.values()))


def test_the_eight_namespace_flags_are_single_bits() -> None:
    kinds = [flag for flag in constants.CloneFlag if flag.name.startswith("NEW")]
    assert len(kinds) == 8
    assert all(flag & (flag - 1) == 0 for flag in kinds)


@pytest.mark.parametrize("machine", syscall_table.MACHINES)
def test_own_system_call_numbers_agree_with_the_table(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", "", "", "", machine)))
    table = syscall_table.numbers(machine)
    own = {n[3:]: v for n, v in vars(constants).items() if n.startswith("NR_")}
    own |= {name: constants.nr(name) for name in constants._NR}
    assert own == {name: table[name] for name in own}


@pytest.mark.parametrize("machine", syscall_table.MACHINES)
def test_no_two_system_calls_share_a_number(machine: str) -> None:
    table = syscall_table.numbers(machine)
    assert len(set(table.values())) == len(table) > 300


def test_the_table_agrees_with_well_known_numbers() -> None:
    x86, arm = map(syscall_table.numbers, syscall_table.MACHINES)
    assert (x86["read"], x86["execve"], x86["exit_group"], x86["statx"]) == (0, 59, 231, 332)
    assert (arm["read"], arm["execve"], arm["exit_group"], arm["statx"]) == (63, 221, 94, 291)
    assert "open" in x86 and "open" not in arm and "fork" not in arm
    common = [name for name, number in x86.items() if number >= 424]
    assert all(arm[name] == x86[name] for name in common)


def test_another_architecture_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", "", "", "", "riscv64")))
    with pytest.raises(KeyError, match="riscv64"):
        constants.nr("bpf")


def test_numbers_agree_with_pythons_own() -> None:
    own = {
        "CLONE_": constants.CloneFlag,  # os has them from 3.12 on
        "AT_": constants.At,
    }
    for prefix, family in own.items():
        for member in family:
            name = f"{prefix}{member.name}"
            assert getattr(os, name, member) == member, name
    assert constants.OpenTree.CLOEXEC == os.O_CLOEXEC
    assert getattr(select, "EPOLL_CLOEXEC", os.O_CLOEXEC) == os.O_CLOEXEC
    assert Rtm.NEWLINK == 16 and socket.NETLINK_ROUTE == 0


def test_device_words_are_single_bits() -> None:
    assert sorted(bpf.ACCESS.values()) == [1, 2, 4]
