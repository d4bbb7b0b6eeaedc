"""The machine of `make test-vm` is what the kernel tests take it for: cgroup v2 alone.

Only plain files are used, no labkit code: a failure here is one of the machine.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.linux import procfs

TOP = Path("/sys/fs/cgroup")
CONTROLLERS = ["memory", "cpu", "io", "pids", "cpuset"]

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]


@pytest.fixture(autouse=True)
def in_the_machine() -> None:
    if not os.environ.get("LABKIT_VM"):
        pytest.skip("these tests describe the QEMU machine of make test-vm")


@pytest.fixture
def group() -> Iterator[Path]:
    (TOP / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
    path = TOP / "machine-test"
    path.mkdir()
    yield path
    (path / "cgroup.kill").write_text("1")
    wait_for(path, "cgroup.events", "populated", 0)
    path.rmdir()


def values(group: Path, name: str) -> dict[str, int]:
    pairs = (line.split() for line in (group / name).read_text().splitlines())
    return {key: int(value) for key, value in pairs}


def wait_for(group: Path, name: str, key: str, value: int) -> None:
    end = time.monotonic() + 10
    while values(group, name)[key] != value:
        assert time.monotonic() < end, (group / name).read_text()
        time.sleep(0.02)


def start(group: Path, code: str) -> "subprocess.Popen[str]":
    """A Python in `group` that runs `code` when it has joined."""
    join = f"open('{group}/cgroup.procs', 'w').write('0');"
    return subprocess.Popen(
        [sys.executable, "-ISc", join + code], text=True, stdout=subprocess.PIPE
    )


def test_the_only_hierarchy_is_version_2_with_all_controllers() -> None:
    kinds = [mount.fstype for mount in procfs.mountinfo() if mount.fstype.startswith("cgroup")]
    assert kinds == ["cgroup2"]
    assert set(CONTROLLERS) <= set((TOP / "cgroup.controllers").read_text().split())


def test_the_root_is_a_disk_and_shared_as_under_systemd() -> None:
    (root,) = (mount for mount in procfs.mountinfo() if mount.point == "/")
    assert root.fstype == "ext4"
    assert any(field.startswith("shared:") for field in root.propagation)


def test_memory_max_kills(group: Path) -> None:
    (group / "memory.max").write_text(str(24 << 20))
    with start(group, "bytearray(64 << 20)") as process:
        assert process.wait() == -signal.SIGKILL
    assert values(group, "memory.events")["oom_kill"] == 1


def test_cpu_max_throttles(group: Path) -> None:
    (group / "cpu.max").write_text("20000 100000")
    with start(group, "import time; end = time.time() + 1.5\nwhile time.time() < end: pass"):
        pass
    assert values(group, "cpu.stat")["nr_throttled"] > 3


def test_pids_max_refuses(group: Path) -> None:
    (group / "pids.max").write_text("1")
    with start(group, "import os\ntry: os.fork()\nexcept OSError as e: print(e.errno)") as process:
        assert process.stdout and process.stdout.read() == "11\n"
    assert values(group, "pids.events")["max"] == 1


def test_io_max_is_accepted_for_the_disk(group: Path) -> None:
    device = Path("/sys/class/block/vda/dev").read_text().strip()
    (group / "io.max").write_text(f"{device} wbps=1048576")
    assert f"{device} rbps=max wbps=1048576" in (group / "io.max").read_text()


def test_a_group_freezes_thaws_and_dies_as_one(group: Path) -> None:
    with start(group, "import time; print('up', flush=True); time.sleep(1000)") as process:
        assert process.stdout and process.stdout.readline() == "up\n"
        (group / "cgroup.freeze").write_text("1")
        wait_for(group, "cgroup.events", "frozen", 1)
        (group / "cgroup.freeze").write_text("0")
        wait_for(group, "cgroup.events", "frozen", 0)
        (group / "cgroup.kill").write_text("1")
        assert process.wait() == -signal.SIGKILL
