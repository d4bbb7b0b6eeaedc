"""The readers of /proc, on text and on this very process."""

import os
import subprocess
import sys

import pytest

from labkit.linux import procfs
from labkit.linux.procfs import MountInfo


def test_a_mountinfo_line_is_taken_apart() -> None:
    line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime shared:1 master:2 - ext3 /dev/ro\134ot rw,errors"
    mount = MountInfo(line)
    assert (mount.id, mount.parent, mount.device) == (36, 35, "98:0")
    assert (mount.root, mount.point, mount.source) == ("/mnt1", "/mnt 2", "/dev/ro\\ot")
    assert mount.options == ["rw", "noatime"]
    assert mount.propagation == ["shared:1", "master:2"]
    assert (mount.fstype, mount.super_options) == ("ext3", ["rw", "errors"])


def test_a_private_mount_has_no_optional_fields() -> None:
    assert MountInfo("1 1 0:1 / / rw - tmpfs none rw").propagation == []


def test_a_mount_without_source_and_options_is_read() -> None:
    mount = MountInfo("1 1 0:1 / /x rw -  tmpfs".replace("-  ", "- "))
    assert (mount.fstype, mount.source) == ("tmpfs", "")


def test_names_in_other_scripts_survive() -> None:
    assert MountInfo("1 1 0:1 / /größe rw - tmpfs größe rw").point == "/größe"


def test_the_root_is_mounted() -> None:
    assert "/" in [mount.point for mount in procfs.mountinfo()]


def test_status_is_read_by_field() -> None:
    status = procfs.status()
    assert int(status["Pid"]) == os.getpid()
    assert int(status["PPid"]) == os.getppid()
    assert procfs.nspid()[0] == os.getpid()


def test_namespaces_of_the_same_process_are_the_same() -> None:
    own = procfs.namespaces()
    assert own == procfs.namespaces(os.getpid())
    assert set(own) <= set(procfs.NAMESPACES) and "mnt" in own


def test_cgroup_paths_start_at_the_root() -> None:
    assert all(path.startswith("/") for path in procfs.cgroups().values())


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_child_is_listed_and_alive(sleeper: subprocess.Popen) -> None:
    assert sleeper.pid in procfs.children(os.getpid())
    assert sleeper.pid in procfs.pids()
    assert procfs.alive(sleeper.pid, procfs.start_time(sleeper.pid))


def test_another_start_time_is_another_process(sleeper: subprocess.Popen) -> None:
    assert not procfs.alive(sleeper.pid, procfs.start_time(sleeper.pid) + 1)


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not procfs.alive(sleeper.pid)


@pytest.mark.parametrize(
    "ask", [procfs.status, procfs.mountinfo, procfs.start_time, procfs.cgroups, procfs.nspid]
)
def test_a_process_that_is_gone_has_one_error(ask, sleeper: subprocess.Popen) -> None:
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(ProcessLookupError, match=str(sleeper.pid)):
        ask(sleeper.pid)


@pytest.mark.parametrize("ask", [procfs.namespaces, procfs.children])
def test_a_process_that_is_gone_has_no_parts(ask, sleeper: subprocess.Popen) -> None:
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(ProcessLookupError, match=str(sleeper.pid)):
        ask(sleeper.pid)


def test_a_file_that_proc_does_not_have_is_another_error() -> None:
    with pytest.raises(FileNotFoundError):
        procfs.read("self", "no-such-file")


def test_a_name_with_brackets_and_blanks_does_not_shift_the_fields(tmp_path) -> None:
    name = "a) R (b 1"
    os.symlink(sys.executable, tmp_path / name)
    code = f"import time; open('/proc/self/comm', 'w').write({name!r}); print(1); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-u", "-c", code], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert procfs.status(process.pid)["Name"] == name
        assert procfs.alive(process.pid, procfs.start_time(process.pid))
        assert procfs.start_time(process.pid) >= procfs.start_time(os.getpid())
        process.kill()
