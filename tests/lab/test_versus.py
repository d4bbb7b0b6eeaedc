"""Virtual machine against container: the host's table, the recorded guest, what is compared."""

import os
from collections.abc import Iterator

import pytest

from labkit.errors import Unavailable, Unsupported
from labkit.lab import guestimage, needs, versus, virtualmachine
from labkit.lab.guest import Guest, recorded
from labkit.lab.hosttable import look, table
from labkit.lab.lab import Lab
from labkit.lab.sandbox import Sandbox
from labkit.lab.virtualmachine import VirtualMachine
from labkit.linux import procfs
from labkit.paths import Instance


@pytest.fixture
def no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without qemu."""

    def qemu() -> str:
        raise Unsupported("qemu-system-x86_64 is not installed: apt install it")

    monkeypatch.setattr("labkit.lab.guest.qemu", qemu)


# ---- the host's table ------------------------------------------------------------


def test_table_lists_this_process_with_its_parent_and_environment() -> None:
    me = table()[os.getpid()]
    assert (me.parent, me.nspid[-1]) == (os.getppid(), os.getpid())
    assert "python" in me.command or "pytest" in me.command
    assert me.environ["PATH"]


def test_a_kernel_thread_or_zombie_has_its_name_in_brackets() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert look(pid).command.startswith("[")
    os.waitpid(pid, 0)


def test_process_that_is_gone_is_an_error_alone_and_left_out_of_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        look(pid)
    monkeypatch.setattr(procfs, "pids", lambda: [pid, os.getpid()])
    assert list(table()) == [os.getpid()]


@pytest.mark.root
def test_container_is_in_the_table_with_two_numbers_and_its_own_environment(seat: Instance) -> None:
    with Sandbox(["sleep", "60"], env={"LABEL": "mars"}) as box:
        line = table()[box.pid]
        assert (line.nspid, line.command) == ([box.pid, 1], "sleep 60")
        assert line.environ["LABEL"] == "mars"


# ---- a guest, or what one said once ------------------------------------------------


def test_without_qemu_facts_are_recorded_and_say_so(no_qemu: None) -> None:
    vm = VirtualMachine(256)
    assert not vm.real and vm.alive and vm.pid is None
    assert vm.facts == recorded()
    assert vm.origin.startswith("recorded 20") and "is not installed: apt install" in vm.origin
    assert vm.label.startswith("recorded 20") and vm.label.endswith("not here")
    assert vm.run("ps") is None and vm.slowdown() is None
    with pytest.raises(Unavailable, match="no guest runs here: qemu"):
        _ = vm.guest
    vm.close()
    vm.close()


def test_without_a_kernel_image_facts_are_recorded_too(
    seat: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guestimage, "_host_image", lambda: None)
    monkeypatch.setattr(virtualmachine.Guest, "accelerator", "tcg")
    monkeypatch.setattr("labkit.lab.guest.qemu", lambda: "/bin/true")
    vm = VirtualMachine()
    assert not vm.real and "run sudo make setup" in vm.origin
    assert needs.lacking(["qemu"]) == ["qemu"]


@pytest.mark.root
def test_identities_without_a_guest_compare_with_the_recorded_one(
    seat: Instance, no_qemu: None
) -> None:
    with Sandbox(["sleep", "60"], hostname="mars") as box:
        card = versus.identities(box, VirtualMachine())
    assert card.facts["boot_id"] == {
        "host": "kernel#1",
        "container": "kernel#1",
        "guest": "kernel#2",
    }
    assert set(card.facts["os-release"].values()) == {"system#1", "system#2", "system#3"}
    assert "not measured here" in card.text
    assert card.live["hostname"]["container"] == "mars"


@pytest.fixture
def lab(seat: Instance) -> Iterator[Lab]:
    lab = Lab("01")
    yield lab
    lab.close()


@pytest.mark.root
def test_lab_keeps_one_machine_until_another_size_is_asked_for(lab: Lab, no_qemu: None) -> None:
    first = lab.virtual_machine(96)
    assert lab.virtual_machine() is first and lab.virtual_machine(96) is first
    assert lab.virtual_machine(128) is not first
    assert lab.virtual_machine().memory_mib == 128


class Started(Guest):
    """A guest whose qemu is a program that does nothing."""

    def _command(self, initrd: str) -> list[str]:
        return ["sleep", "60"]


@pytest.mark.root
def test_guest_that_has_ended_is_started_anew_and_ends_with_the_lab(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtualmachine, "Guest", Started)
    first = lab.virtual_machine()
    assert first.real and first.alive
    first.close()
    assert not first.alive
    second = lab.virtual_machine()
    pid = second.pid
    assert second is not first and pid
    lab.reset()
    assert not procfs.alive(pid)


# ---- what it costs ------------------------------------------------------------------


@pytest.mark.root
def test_as_many_containers_are_started_as_asked_for_and_none_is_left(seat: Instance) -> None:
    before = procfs.children(os.getpid())
    several = versus.start_containers(2)
    assert len(several.seconds) == len(several.memory) == 2
    assert all(1024 < size < several.helpers for size in several.memory)
    assert procfs.children(os.getpid()) == before


def test_bounds_are_computed_and_hold_for_the_recorded_guest(no_qemu: None) -> None:
    several = versus.Containers([0.2, 9.0], [1 << 20, 2 << 20], 20 << 20)
    chart = versus.cost_chart(several, VirtualMachine())
    assert chart.caption.count(": yes") == 4 and "guest: recorded" in chart.caption
    slow = versus.Containers([99.0], [60 << 20], 20 << 20)
    assert versus.cost_chart(slow, VirtualMachine()).caption.count(": no") == 4


def test_conditions_name_origin_and_accelerator(no_qemu: None) -> None:
    card = versus.conditions(versus.Containers([0.2], [1 << 20], 8 << 20), VirtualMachine())
    assert card.facts["numbers"].startswith("recorded")
    assert card.live["accelerator"] == "tcg" and card.live["helpers outside"] == "8 MiB for 1"
    assert card.live["this machine's own boot"]


def test_equal_values_have_equal_aliases_in_order_of_first_sight() -> None:
    found = versus.aliases({"host": "x", "container": "x", "guest": "y"}, "kernel")
    assert found == {"host": "kernel#1", "container": "kernel#1", "guest": "kernel#2"}


def test_pss_of_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(ProcessLookupError):
        versus.pss(2**22 - 1)


def test_qemu_is_met_only_with_a_kernel_to_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.lab.qemu.qemu", lambda: "/bin/true")
    monkeypatch.setattr("labkit.lab.guestimage.kernel_image", lambda: "/boot/vmlinuz")
    assert needs.lacking(["qemu"]) == []

    def none() -> str:
        raise Unsupported("no kernel")

    monkeypatch.setattr("labkit.lab.guestimage.kernel_image", none)
    assert needs.lacking(["qemu"]) == ["qemu"]
