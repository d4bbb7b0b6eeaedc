import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import cgroups
from labkit.cgroups import Limits
from labkit.errors import InvalidParameter, NotFound, Unavailable
from labkit.lab.sandbox import KINDS, Sandbox
from labkit.lab.world import World
from labkit.linux import capabilities, procfs
from labkit.linux.syscalls import pidfd_open
from labkit.namespaces import IdMap
from labkit.paths import Instance

pytestmark = pytest.mark.root


@pytest.fixture
def box(seat: Instance) -> Iterator[Sandbox]:
    with Sandbox(["sleep", "60"], hostname="mars") as box:
        yield box


def ended(pidfd: int) -> bool:
    done, _, _ = select.select([pidfd], [], [], 10)
    os.close(pidfd)
    return bool(done)


# ---- what it is ------------------------------------------------------------------


def test_its_namespaces_are_new_but_for_user_and_time(box: Sandbox) -> None:
    host, inside = procfs.namespaces(), box.namespaces()
    assert {kind for kind in host if host[kind] != inside[kind]} == set(KINDS)


def test_only_the_kinds_that_were_asked_for_are_new(seat: Instance) -> None:
    with Sandbox(["sleep", "60"], kinds=["uts"], hostname="mars") as box:
        host, inside = procfs.namespaces(), box.namespaces()
        assert {kind for kind in host if host[kind] != inside[kind]} == {"uts"}


def test_it_is_process_one_inside_and_an_ordinary_one_outside(box: Sandbox) -> None:
    assert procfs.nspid(box.pid) == [box.pid, 1]
    assert procfs.read(box.pid, "cmdline") == "sleep\x0060\0"
    code, text = box.run(["sh", "-c", "cd /proc; echo [0-9]*"])
    assert (code, text.split()[0], len(text.split())) == (0, "1", 2)


def test_its_root_is_the_base_and_the_old_root_is_out_of_reach(box: Sandbox) -> None:
    assert "labkit busybox" in Path(f"{box.root}/etc/os-release").read_text()
    points = [mount.point for mount in procfs.mountinfo(box.pid)]
    assert points[0] == "/" and {"/proc", "/sys", "/dev", "/dev/pts"} <= set(points)
    assert procfs.mountinfo(box.pid)[0].fstype == "overlay"
    assert box.run(["ls", "/work"])[0] == 1


def test_what_it_writes_ends_with_it(seat: Instance) -> None:
    with Sandbox(["sleep", "60"]) as box:
        assert box.run(["sh", "-c", "echo x > /etc/mark; rm /etc/passwd"])[0] == 0
        assert os.path.exists(f"{box.root}/etc/mark")
    assert not os.path.exists(f"{seat.base}/etc/mark")
    assert os.path.exists(f"{seat.base}/etc/passwd")


def test_it_has_a_name_a_loopback_and_docker_s_capabilities(box: Sandbox) -> None:
    assert box.run(["hostname"]) == (0, "mars\n")
    assert "127.0.0.1" in box.run(["ip", "addr"])[1]
    sets = capabilities.read(box.pid)
    assert sets.effective == sets.permitted == sets.bounding == capabilities.DOCKER_DEFAULT
    assert sets.inheritable == sets.ambient == frozenset()
    assert box.run(["mount", "-t", "tmpfs", "x", "/mnt"])[0] != 0


def test_settings_of_the_whole_kernel_are_out_of_reach(box: Sandbox) -> None:
    assert box.run(["sh", "-c", "echo 1 > /proc/sys/vm/swappiness"])[0] != 0
    assert box.run(["cat", "/proc/kcore"])[0] in (0, 1)
    assert box.run(["wc", "-c", "/proc/keys"]) == (0, "0 /proc/keys\n")


def test_a_directory_can_be_its_root(seat: Instance, tmp_path: Path, box: Sandbox) -> None:
    subprocess.run(["cp", "-a", seat.base, tmp_path / "copy"], check=True)
    with Sandbox(["sleep", "60"], root=str(tmp_path / "copy")) as other:
        other.run(["touch", "/tmp/here"])
        assert os.listdir(tmp_path / "copy/tmp") == ["here"]
    assert os.listdir(tmp_path / "copy/proc") == []


def test_environment_and_directory_are_set(seat: Instance) -> None:
    command = ["sh", "-c", "pwd; echo $COLOUR $HOME; env | wc -l"]
    with Sandbox(command, env={"COLOUR": "red"}, cwd="/etc") as box:
        assert box.wait() == 0
        assert box.output().splitlines()[:2] == ["/etc", "red /root"]


def test_it_lives_in_its_cgroup_alone_and_so_does_what_is_run_in_it(seat: Instance) -> None:
    with cgroups.create(seat.name("box"), Limits(pids_max=4)) as group:
        with Sandbox(["sleep", "60"], cgroup=group) as box:
            assert group.pids() == [box.pid]
            assert {
                line.split(":")[2] for line in box.run(["cat", "/proc/self/cgroup"])[1].split()
            } == {"/"}
            assert box.run(["sh", "-c", "for i in 1 2 3 4; do sleep 5 & done"])[0] != 0


def test_ids_are_mapped_and_root_inside_is_nobody_outside(seat: Instance, tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)  # pytest's are closed to others, /var/lib/labkit is not
    with Sandbox(["sleep", "60"], maps=[IdMap(0, 100_000, 1000)]) as box:
        assert os.stat(f"/proc/{box.pid}").st_uid == 100_000
        assert box.run(["id", "-u"]) == (0, "0\n")
        assert box.run(["touch", "/tmp/mine"])[0] == 0
        assert os.stat(f"{box.root}/tmp/mine").st_uid == 100_000


def test_source_text_runs_as_process_one(seat: Instance) -> None:
    with Sandbox("print(os.getpid(), gethostname(), os.listdir('/home'))") as box:
        assert box.wait() == 0
        assert box.output() == "1 sandbox []\n"


# ---- its end -----------------------------------------------------------------------


def test_wait_gives_the_exit_code_or_the_signal(seat: Instance) -> None:
    with Sandbox(["sh", "-c", "echo out; echo err >&2; exit 7"]) as box:
        assert (box.wait(), box.wait()) == (7, 7)
        assert box.output() == "out\nerr\n"
        assert not box.alive
    with Sandbox(["sleep", "60"]) as box:
        with pytest.raises(TimeoutError, match="still runs after 0.1 s"):
            box.wait(0.1)
        box.kill()
        assert box.wait() == -signal.SIGKILL


def test_the_end_of_process_one_is_the_end_of_all(box: Sandbox) -> None:
    box.run(["sh", "-c", "setsid sleep 60 > /dev/null 2>&1 &"])
    other = next(pid for pid in procfs.pids() if _in(pid, box) and pid != box.pid)
    member = pidfd_open(other)
    box.kill()
    assert ended(member) and box.wait() == -signal.SIGKILL
    with pytest.raises(Unavailable, match="the container has ended"):
        box.run(["true"])


def _in(pid: int, box: Sandbox) -> bool:
    try:
        return procfs.ns_inode(pid, "pid") == box.namespaces()["pid"]
    except (ProcessLookupError, PermissionError):
        return False


def test_leaving_the_block_leaves_nothing(seat: Instance) -> None:
    before = [mount.point for mount in procfs.mountinfo()]
    with Sandbox(["sleep", "60"]) as box:
        member = pidfd_open(box.pid)
    box.close()
    assert ended(member)
    assert [mount.point for mount in procfs.mountinfo()] == before
    assert os.listdir(f"{seat.run}/stage") == []


def test_it_ends_when_the_kernel_is_killed(seat: Instance) -> None:
    code = """
        import time
        from labkit.lab.sandbox import Sandbox
        box = Sandbox(["sleep", "60"])
        print(box.pid, flush=True)
        time.sleep(60)
    """
    kernel = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert kernel.stdout
    member = pidfd_open(int(kernel.stdout.readline()))
    kernel.kill()
    kernel.communicate()
    assert ended(member)


def test_a_background_process_does_not_hold_up_run(box: Sandbox) -> None:
    assert box.run(["sh", "-c", "sleep 30 & echo done"], timeout=10) == (0, "done\n")


def test_a_program_that_takes_too_long_in_it_is_ended(box: Sandbox) -> None:
    with pytest.raises(TimeoutError, match="'sleep' was ended after 1 s"):
        box.run(["sleep", "50"], timeout=1)
    time.sleep(0.3)
    assert "sleep 50" not in box.run(["ps"])[1]


# ---- in a world ----------------------------------------------------------------------


def test_in_a_world_it_is_one_of_its_processes(seat: Instance) -> None:
    with World("t") as world, world.sandbox(["sleep", "60"], hostname="mars") as box:
        assert ("process#1", "sleep 60") in world.processes()
        assert box.pid in world.cgroup.pids(recursive=True)
        assert procfs.nspid(box.pid)[-1] == 1 and len(procfs.nspid(box.pid)) == 3
        assert box.run(["hostname"]) == (0, "mars\n")
        member = pidfd_open(box.pid)
        world.close()
        assert ended(member)


def test_in_a_world_it_can_have_a_group_and_maps(seat: Instance) -> None:
    with World("t") as world:
        group = world.group("box", Limits(pids_max=8))
        with world.sandbox(["sleep", "60"], cgroup=group, maps=[IdMap(0, 1000)]) as box:
            assert group.pids() == [box.pid]
            assert box.run(["id", "-u"]) == (0, "0\n")


# ---- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "options", "kind", "message"),
    [
        (["nowhere"], {}, NotFound, r"no program 'nowhere' in the container \(exit code 127\)"),
        (["/etc"], {}, InvalidParameter, r"'/etc' cannot be executed \(exit code 126\)"),
        ([], {}, InvalidParameter, r"argv \[\] is not a list of words"),
        (["sh", 5], {}, InvalidParameter, r"argv \['sh', 5\] is not a list of words"),
        (["sh"], {"kinds": ["nonsense"]}, InvalidParameter, "no namespace kind 'nonsense'"),
        (["sh"], {"kinds": ["user"]}, InvalidParameter, "a user namespace needs maps="),
        (["sh"], {"root": "/nowhere"}, FileNotFoundError, "/nowhere"),
        (["sh"], {"root": "nowhere"}, InvalidParameter, "root 'nowhere' is not an absolute path"),
        (["sh"], {"cwd": "/nowhere"}, FileNotFoundError, "/nowhere"),
        (["sh"], {"hostname": "x" * 65}, OSError, "x" * 65),
    ],
)
def test_what_cannot_be_is_one_message_and_leaves_nothing(
    seat: Instance, argv: list[str], options: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Sandbox(argv, **options)


def test_a_program_that_is_not_there_gives_127(box: Sandbox) -> None:
    assert box.run(["nowhere"]) == (127, "no program 'nowhere' in the container (exit code 127)\n")
