"""The guest of notebook 01: it boots, answers, says what it is, and goes without a trace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.errors import Conflict, InvalidParameter, Unavailable, Unsupported
from labkit.lab import guest as guest_module
from labkit.lab import guestimage, qemu
from labkit.lab.guest import Facts, Guest, recorded
from labkit.linux import procfs
from labkit.paths import Instance


@pytest.fixture(scope="module")
def kernel() -> Path:
    try:
        qemu.qemu()
        return guestimage.prepare(lambda text: None)
    except (Unsupported, Unavailable, PermissionError) as error:
        pytest.skip(f"no guest on this machine: {error}")


@pytest.fixture(scope="module")
def guest(kernel: Path) -> Iterator[Guest]:
    with Guest(hostname="elsewhere", files={"/secret/word": b"xyzzy\n"}) as guest:
        guest.wait()
        yield guest


def test_the_guest_has_another_kernel_boot_and_another_system(guest: Guest) -> None:
    facts = guest.wait()
    assert facts.boot_id != Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.boot_id == guest.read("/proc/sys/kernel/random/boot_id").strip()
    assert facts.hostname == "elsewhere"
    assert facts.os_name == "labkit guest (busybox)"
    assert facts.accelerator == guest.accelerator in ("kvm", "tcg")
    assert facts.processes > 5
    assert facts.origin == "measured here"


def test_the_boot_is_timed_by_both_clocks(guest: Guest) -> None:
    facts = guest.wait()
    assert 0.05 < facts.kernel_to_init < 60
    assert facts.start_to_init > facts.kernel_to_init * 0.5


def test_the_time_is_that_of_init_however_late_one_asks(kernel: Path) -> None:
    with Guest() as late:
        assert late._line
        while late._line._lines.qsize() < 2:
            time.sleep(0.1)
        arrived = time.monotonic() - late._line.started
        time.sleep(1.5)
        assert late.wait().start_to_init < arrived + 0.1


def test_the_release_is_that_of_the_image(guest: Guest, kernel: Path) -> None:
    assert guestimage.image_release(kernel) in (guest.wait().release, "")


def test_the_memory_is_more_than_nothing_and_its_limit_holds(guest: Guest) -> None:
    assert guest.wait().memory > 32 << 20
    total = int(guest.run("grep MemTotal /proc/meminfo").split()[1])
    assert 64 * 1024 < total < 128 * 1024


def test_a_command_runs_by_the_guests_shell(guest: Guest) -> None:
    assert guest.run("echo one; echo two >&2; printf three") == "one\ntwo\nthree"
    assert guest.run("true") == ""


def test_long_output_and_long_commands_pass_the_line(guest: Guest) -> None:
    assert len(guest.run("seq 1 20000")) == 108894
    words = "w" * 12000
    assert guest.run(f"echo {words}") == words + "\n"
    with pytest.raises(InvalidParameter, match="20005 characters"):
        guest.run("echo " + "w" * 20000)


def test_output_that_looks_like_an_answer_is_not_one(guest: Guest) -> None:
    assert guest.run("echo @ready; echo @999 0 AAAA") == "@ready\n@999 0 AAAA\n"


def test_a_failed_command_raises_with_status_and_output(guest: Guest) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        guest.run("echo why; exit 3")
    assert (caught.value.returncode, caught.value.output) == (3, "why\n")


def test_a_file_of_the_guest_is_read_and_a_missing_one_named(guest: Guest) -> None:
    assert guest.read("/secret/word") == "xyzzy\n"
    with pytest.raises(OSError, match="/nowhere.*No such file"):
        guest.read("/nowhere")


def test_the_guests_processes_are_not_in_the_hosts_table(guest: Guest) -> None:
    guest.run("sleep 4711 >/dev/null 2>&1 &")
    assert "sleep 4711" in guest.run("ps")
    lines = [read_cmdline(pid) for pid in procfs.pids()]
    assert "sleep 4711" not in lines


def read_cmdline(pid: int) -> str:
    try:
        return procfs.read(pid, "cmdline").replace("\0", " ").strip()
    except ProcessLookupError:
        return ""


def test_the_slowdown_is_a_ratio(guest: Guest) -> None:
    assert 0.1 < guest.slowdown() < 200


def test_a_command_that_hangs_is_unavailable_in_time(kernel: Path) -> None:
    with Guest() as hung:
        hung.wait()
        with pytest.raises(Unavailable, match="did not say @2 in time"):
            hung.run("sleep 1000", timeout=0.5)


def test_stop_leaves_no_process_and_can_be_repeated(kernel: Path) -> None:
    guest = Guest().start()
    pid = guest.pid
    assert pid and procfs.alive(pid)
    guest.stop()
    assert not os.path.exists(f"/proc/{pid}")
    guest.stop()
    assert guest.pid is None
    with pytest.raises(Conflict, match="was stopped"):
        guest.run("true")
    with pytest.raises(Conflict, match="started before"):
        guest.start()


def test_a_guest_that_was_killed_says_so(kernel: Path) -> None:
    with Guest() as victim:
        assert victim.pid
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="the guest has ended"):
            victim.wait()


def test_a_guest_dies_with_the_process_that_started_it(kernel: Path) -> None:
    code = "from labkit.lab.guest import Guest; print(Guest().start().pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        started = procfs.start_time(pid)
        parent.kill()
    end = time.monotonic() + 10
    while procfs.alive(pid, started) and time.monotonic() < end:
        time.sleep(0.05)
    assert not procfs.alive(pid, started)


def test_a_guest_that_was_not_started_says_so() -> None:
    with pytest.raises(Conflict, match="start\\(\\) it first"):
        Guest().wait()


def test_wrong_values_are_named() -> None:
    with pytest.raises(InvalidParameter, match="'hvf'"):
        Guest(accelerator="hvf")
    with pytest.raises(InvalidParameter, match="not 8"):
        Guest(memory_mib=8)


def test_without_qemu_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="is not installed: apt install .* qemu-system-"):
        Guest(accelerator="tcg").start()


def test_without_a_kernel_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guestimage, "_host_image", lambda: None)
    with pytest.raises(Unsupported, match=f"{tmp_path}/guest/vmlinuz: run sudo make setup"):
        guestimage.kernel_image(Instance(str(tmp_path), str(tmp_path)))


def test_a_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guestimage, "_host_image", lambda: None)
    monkeypatch.setattr(guestimage, "kernel_package", lambda: "linux-image-0.0-none")
    with pytest.raises((Unavailable, FileNotFoundError)):
        guestimage.prepare(lambda text: None, Instance(str(tmp_path), str(tmp_path)))
    assert not list((tmp_path / "guest").iterdir())


def test_recorded_facts_say_that_they_are_recorded() -> None:
    facts = recorded()
    assert isinstance(facts, Facts)
    assert facts.origin.startswith("recorded 20")
    assert facts.start_to_init > facts.kernel_to_init > 0


def test_the_archive_holds_busybox_and_its_directories() -> None:
    raw = guestimage.initramfs({"/init": b"#!/bin/busybox sh\n", "/a/b/c": b"12345"})
    members = dict(_members(raw))
    assert members["init"] == (0o100755, b"#!/bin/busybox sh\n")
    assert members["a/b/c"] == (0o100644, b"12345")
    assert members["a/b"] == (0o040755, b"")
    assert members["bin/busybox"][1][:4] == b"\x7fELF"
    assert list(members)[-1] == "TRAILER!!!"


def _members(raw: bytes) -> Iterator[tuple[str, tuple[int, bytes]]]:
    position = 0
    while position < len(raw):
        assert raw[position : position + 6] == b"070701"
        mode, size, name_size = (
            int(raw[position + at : position + at + 8], 16) for at in (14, 54, 94)
        )
        name = raw[position + 110 : position + 110 + name_size - 1].decode()
        data = (position + 110 + name_size + 3) // 4 * 4
        yield name, (mode, raw[data : data + size])
        position = (data + size + 3) // 4 * 4


@pytest.mark.parametrize("argument", ["", "remove"])
def test_an_unknown_command_is_named(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guest_module.main(argument.split()) == 1
    assert f"not '{argument}'" in capsys.readouterr().err
