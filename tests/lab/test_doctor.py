import platform

import pytest

from labkit.errors import Unsupported
from labkit.lab import doctor
from labkit.lab.doctor import GUARDS, diagnose
from labkit.lab.machine import Machine
from labkit.linux.procfs import MountInfo
from labkit.paths import Instance


class Healthy(Machine):
    """A machine on which everything is well, without looking at this one."""

    FILES = {
        "/proc/filesystems": "nodev\tproc\nnodev\toverlay\n\text4",
        "/proc/sys/kernel/seccomp/actions_avail": "kill_process errno log allow",
        "/proc/sys/user/max_user_namespaces": "15000",
    }

    def uid(self) -> int:
        return 0

    def python(self) -> tuple[int, ...]:
        return (3, 12, 1)

    def text(self, path: str) -> str | None:
        return self.FILES.get(path)

    def namespaces(self) -> list[str]:
        return ["mnt", "pid", "uts", "ipc", "net", "user", "cgroup", "time"]

    def has_syscall(self, name: str) -> bool:
        return True

    def cgroups(self) -> tuple[str, set[str]]:
        return "v2", {"cpu", "memory", "pids", "io"}

    def upper_obstacle(self, path: str) -> str:
        return ""

    def space(self, path: str) -> tuple[int, int | None]:
        return 50 << 30, 1_000_000

    def tool(self, name: str) -> str | None:
        return f"/usr/bin/{name}"

    def is_file(self, path: str) -> bool:
        return True

    def port_is_free(self, port: int) -> bool:
        return True


def test_healthy_machine_is_ready(seat: Instance) -> None:
    diagnosis = diagnose(Healthy(seat))
    assert diagnosis.ready and diagnosis.text.endswith("the machine is ready")
    assert [finding.state for finding in diagnosis.findings] == ["ok"] * len(GUARDS)


def without(path: str, text: str | None) -> dict[str, str]:
    files = dict(Healthy.FILES)
    files.pop(path, None)
    return files if text is None else files | {path: text}


ILL = [
    ("root", "fix", {"uid": lambda self: 1000}, "user id 1000"),
    ("python", "fix", {"python": lambda self: (3, 10, 2)}, "3.10.2"),
    ("namespaces", "fix", {"namespaces": lambda self: ["mnt", "pid"]}, "missing: uts, ipc, net"),
    ("overlay", "fix", {"FILES": without("/proc/filesystems", "ext4")}, "not in /proc/filesystems"),
    (
        "overlay upper",
        "fix",
        {"upper_obstacle": lambda self, path: "an overlay cannot lie on an overlay"},
        "an overlay cannot lie on an overlay",
    ),
    ("pidfd", "fix", {"has_syscall": lambda self, name: name == "fsopen"}, "no pidfd_open(2)"),
    ("mount interface", "fix", {"has_syscall": lambda self, name: name != "fsopen"}, "no fsopen"),
    (
        "seccomp",
        "note",
        {"FILES": without("/proc/sys/kernel/seccomp/actions_avail", None)},
        "no seccomp filters",
    ),
    (
        "cgroup controllers",
        "fix",
        {"cgroups": lambda self: ("v2", {"cpu"})},
        "memory, pids missing",
    ),
    ("cgroup v2", "note", {"cgroups": lambda self: ("v1", {"cpu", "memory", "pids"})}, "v1"),
    (
        "user namespaces",
        "fix",
        {"FILES": without("/proc/sys/user/max_user_namespaces", "0")},
        "max_user_namespaces is 0",
    ),
    (
        "unprivileged user namespaces",
        "note",
        {"FILES": without("/proc/sys/kernel/unprivileged_userns_clone", "0")},
        "unprivileged_userns_clone is 0",
    ),
    (
        "AppArmor and user namespaces",
        "note",
        {"FILES": without("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")},
        "AppArmor blocks them",
    ),
    ("disk", "fix", {"space": lambda self, path: (5 << 20, None)}, "5 MiB free"),
    ("disk", "fix", {"space": lambda self, path: (5 << 30, 3)}, "3 inodes free"),
    ("run directory", "fix", {"space": lambda self, path: (1 << 20, None)}, "needed 16 MiB"),
    ("busybox", "fix", {"tool": lambda self, name: None}, "not found: busybox"),
    ("base file system", "fix", {"is_file": lambda self, path: False}, "base/bin/busybox"),
    ("network tools", "note", {"tool": lambda self, name: None}, "not found: ip, nft"),
    ("qemu", "note", {"tool": lambda self, name: None}, "not found: qemu-system-"),
    ("port", "note", {"port_is_free": lambda self, port: False}, "8888 is in use"),
]


@pytest.mark.parametrize(("name", "state", "lies", "saw"), ILL)
def test_each_guard_sees_its_failure_and_names_a_fix(
    seat: Instance, name: str, state: str, lies: dict[str, object], saw: str
) -> None:
    machine = type("Ill", (Healthy,), lies)(seat)
    diagnosis = diagnose(machine)
    finding = next(f for f in diagnosis.findings if f.guard.name == name)
    assert finding.state == state
    assert saw in finding.saw
    first, fix = str(finding).splitlines()
    assert first.startswith(f"[{state}] {name}: ")
    assert fix.strip() == finding.guard.fix
    assert (name in diagnosis.to_fix) == (state == "fix")


def test_every_guard_but_leftovers_is_tried_above() -> None:
    assert {guard.name for guard in GUARDS} - {name for name, *_ in ILL} == {"leftovers"}


def test_every_fix_is_one_sentence() -> None:
    for guard in GUARDS:
        assert 10 < len(guard.fix) < 120 and "\n" not in guard.fix
        assert not guard.fix.endswith(".") and guard.fix[0].islower()


def test_guard_that_cannot_look_has_found_what_stopped_it(seat: Instance) -> None:
    def nothing(self: Machine) -> tuple[str, set[str]]:
        raise Unsupported("no cgroup file system is mounted")

    diagnosis = diagnose(type("Ill", (Healthy,), {"cgroups": nothing})(seat))
    finding = next(f for f in diagnosis.findings if f.guard.name == "cgroup controllers")
    assert str(finding).startswith("[fix] cgroup controllers: no cgroup file system is mounted")


def test_what_a_dead_notebook_left_is_a_fix(seat: Instance, python) -> None:  # type: ignore[no-untyped-def]
    python(
        "import os; from labkit.lab import Lab; lab = Lab('02')\n"
        "os.makedirs(lab.ledger.record('path', f'{lab.instance.root}/a'))\n"
        "os.kill(os.getpid(), 9)"
    )
    diagnosis = diagnose(Healthy(seat))
    assert diagnosis.to_fix == ["leftovers"]
    assert f"path {seat.root}/a of nb02" in diagnosis.text


def test_card_compares_only_what_is_to_fix(seat: Instance) -> None:
    card = diagnose(type("Ill", (Healthy,), {"uid": lambda self: 1000})(seat)).card()
    assert card.text == "doctor\n  ready   no\n  to fix  root"
    assert card.live["root"].startswith("[fix] user id 1000")  # type: ignore[attr-defined]
    assert set(card.live) == {guard.name for guard in GUARDS}


def test_command_ends_with_one_when_something_is_to_fix(
    seat: Instance, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "Machine", Healthy)
    assert doctor.main([]) == 0
    monkeypatch.setattr(doctor, "Machine", type("Ill", (Healthy,), {"uid": lambda self: 1}))
    assert doctor.main([]) == 1
    assert "[fix] root: user id 1" in capsys.readouterr().out


def test_this_machine_can_be_looked_at(seat: Instance) -> None:
    """Real probes: each must come to a finding, and these hold wherever the tests run."""
    findings = {f.guard.name: f for f in diagnose(Machine(seat)).findings}
    assert findings["python"].ok and findings["namespaces"].ok and findings["pidfd"].ok
    assert platform.python_version() in findings["python"].saw


def test_file_system_of_a_path_is_that_of_the_nearest_mount(seat: Instance) -> None:
    class Mounts(Machine):
        def mounts(self) -> list[MountInfo]:
            lines = ["1 0 8:1 / / rw - ext4 a rw", "2 1 8:2 / /var rw - xfs b rw"]
            return [MountInfo(line) for line in lines]

    machine = Mounts(seat)
    paths = ("/var/lib", "/variable", "/var")
    assert [machine.file_system(path) for path in paths] == ["xfs", "ext4", "xfs"]


def test_port_in_use_is_seen(seat: Instance) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not Machine(seat).port_is_free(server.getsockname()[1])
