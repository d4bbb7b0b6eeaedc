import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit import cgroups
from labkit.cgroups import Limits
from labkit.errors import Conflict, InvalidParameter, Unavailable, Unsupported
from labkit.lab import spaces
from labkit.lab.ledger import Ledger
from labkit.lab.reset import reset
from labkit.lab.world import World
from labkit.lab.world_main import KINDS
from labkit.linux import procfs
from labkit.linux.syscalls import pidfd_open
from labkit.paths import Instance

pytestmark = pytest.mark.root


@pytest.fixture
def world(seat: Instance) -> Iterator[World]:
    with World("t", memory_mib=96, pids=48) as world:
        yield world


def ended(pidfd: int, seconds: float = 10) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    done = bool(poll.poll(seconds * 1000))
    os.close(pidfd)
    return done


# ---- what it is ------------------------------------------------------------------


def test_it_has_namespaces_of_its_own_and_children_share_them(world: World) -> None:
    host, machine = procfs.namespaces(), world.namespaces()
    assert {kind for kind in host if host[kind] != machine[kind]} == set(KINDS)
    assert world.child("a").namespaces() == machine


def test_init_is_process_one_and_proc_shows_the_machine_only(world: World) -> None:
    a = world.child("a")
    assert procfs.nspid(world.pid)[-1] == 1
    assert world.processes() == [("init", "init"), ("victim", "victim"), ("a", "a")]
    assert a.eval("[procfs.pids(), os.getppid()]") == [[1, 2, 3], 1]
    a.run("spawn(time.sleep, 60)")
    assert world.processes()[-1] == ("process#1", "a")


def test_it_has_a_host_name_and_a_loopback_that_carries(world: World) -> None:
    a = world.child("a")
    assert a.eval("gethostname()") == "machine"
    assert a.eval("socket.create_server(('127.0.0.1', 80)).getsockname()[1]") == 80
    assert [name for _, name in a.eval("socket.if_nameindex()")] == ["lo"]
    assert os.uname().nodename != "machine"


def test_everyone_is_in_its_cgroup_and_sees_it_as_the_root(world: World) -> None:
    a = world.child("a")
    assert {world.pid, world.victim.pid, a.pid} <= set(world.cgroup.pids(recursive=True))
    assert world.cgroup.pids() == []
    path = "procfs.cgroups()['memory' if 'memory' in procfs.cgroups() else '']"
    assert a.eval(path) == "/init"
    assert world.cgroup.limits().memory_max == 96 << 20
    assert world.cgroup.limits().pids_max == 48


def test_a_group_made_inside_is_below_the_machine(world: World) -> None:
    a = world.child("a")
    a.run("from labkit import cgroups\nx = cgroups.create('x')\nx.add()")
    assert cgroups.open(f"{world.cgroup.name}/x").pids() == [a.pid]


def test_a_group_for_some_of_its_processes_has_limits_of_its_own(world: World) -> None:
    a = world.child("a")
    group = world.group("few", Limits(pids_max=3))
    group.add(a.pid)
    text = a.run(
        "made = []\ntry:\n    while True: made.append(spawn(time.sleep, 60))\n"
        "except BlockingIOError: print(len(made))"
    )
    assert text == "2\n"
    assert world.victim.ticking()


# ---- what it cannot hurt -----------------------------------------------------------


def test_all_that_is_written_stays_in_the_machine(world: World, seat: Instance) -> None:
    a = world.child("a")
    marker = "/etc/labkit-was-here"
    a.run(
        f"open({marker!r}, 'w').write('x')\nos.unlink('/etc/passwd')\nsh('rm -rf /etc')\n"
        "for path in ('/scratch/x', '/tmp/x', '/run/x', '/dev/shm/x', '/disk/x'):\n"
        "    open(path, 'w').write('x')"
    )
    assert not os.path.exists(marker)
    assert os.path.exists("/etc/passwd") and len(os.listdir("/etc")) > 5
    assert not any(map(os.path.exists, ("/scratch", "/disk", "/tmp/x", "/run/x", "/dev/shm/x")))
    assert os.listdir(f"{seat.root}/worlds/t") == ["x"]


def test_the_base_and_settings_of_the_whole_kernel_are_read_only(
    world: World, seat: Instance
) -> None:
    a = world.child("a")
    for path in (f"{seat.base}/etc/passwd", "/proc/sys/kernel/core_pattern", "/sys/power/state"):
        if os.path.exists(path):
            with pytest.raises(OSError, match="Read-only file system"):
                a.run(f"open({path!r}, 'w').write('x')")


def test_settings_of_its_own_namespaces_can_be_changed(world: World) -> None:
    before = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    a = world.child("a")
    a.run(
        "open('/proc/sys/net/ipv4/ip_default_ttl', 'w').write('7')\n"
        "open('/proc/sys/kernel/hostname', 'w').write('mars')"
    )
    assert a.run("sh('cat /proc/sys/net/ipv4/ip_default_ttl; hostname')") == "7\nmars\n"
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() == before


def test_disks_cannot_be_opened_whatever_node_is_made(world: World) -> None:
    a = world.child("a")
    a.run("os.mknod('/dev/disk0', 0o60600, os.makedev(254, 0))")
    with pytest.raises(PermissionError):
        a.run("os.open('/dev/disk0', os.O_RDONLY)")
    a.run("open('/dev/null', 'w').write('x'); os.mknod('/scratch/w', 0o20000, 0)")


def test_mounts_do_not_travel_to_the_host_even_when_it_shares(
    python: Callable[[str], str], seat: Instance
) -> None:
    code = """
        from labkit import mounts, namespaces
        from labkit.lab.world import World
        from labkit.linux import procfs
        namespaces.unshare(["mnt"])
        mounts.propagate("/", "rshared")
        before = [mount.point for mount in procfs.mountinfo()]
        with World("t") as world:
            world.child("a").run("mount('x', '/scratch', 'tmpfs')")
            print([mount.point for mount in procfs.mountinfo()] == before)
    """
    assert python(textwrap.dedent(code)) == "True\n"


def test_a_user_namespace_inside_may_mount_proc_and_sysfs(world: World) -> None:
    """The kernel allows it only where a proc and a sysfs without mounts on top can be seen."""
    text = world.child("a").run(
        """
        from labkit import mounts
        from labkit.namespaces import IdMap
        from labkit.spawn import spawn as start
        def first():
            mounts.Mount("proc", "/mnt", "proc").perform()
            mounts.Mount("sysfs", "/mnt", "sysfs", ["ro"]).perform()
            print(os.listdir("/mnt") != [])
        kinds = ("user", "mnt", "pid", "net")
        with start(kinds, first, uid_maps=[IdMap(0, 1000)], gid_maps=[IdMap(0, 1000)]) as process:
            process.wait(10)
        """
    )
    assert text == "True\n"


# ---- the victim ----------------------------------------------------------------------


def test_the_victim_counts_about_fifty_times_a_second(world: World) -> None:
    assert 5 < world.victim.rate(seconds=1) < 60
    assert world.victim.alive and world.victim.ticking()


def test_the_victim_can_be_killed_from_inside_and_started_again(world: World) -> None:
    world.child("a").run("os.kill(2, signal.SIGKILL)")
    time.sleep(0.1)
    assert not world.victim.alive and not world.victim.ticking(within=0.2)
    seen = world.victim.ticks()
    world.victim.start()
    assert world.victim.alive and world.victim.ticking()
    assert world.victim.ticks() > seen
    with pytest.raises(Conflict, match="the victim is alive"):
        world.victim.start()


def test_mend_revives_the_victim_and_gives_the_machine_its_name_back(world: World) -> None:
    a = world.child("a")
    a.run(f"os.kill({spaces.number_at(world.pid, world.victim.pid)}, signal.SIGKILL)")
    a.run("sethostname('mars')")
    assert spaces.until(lambda: not world.victim.alive)
    world.mend(keep=True)
    assert world.victim.ticking() and a.eval("gethostname()") == "machine"
    world.mend()
    assert world.victim.ticking() and not a.alive


def test_a_fork_bomb_is_contained_and_the_victim_ticks_on(world: World) -> None:
    before = len(procfs.pids())
    a = world.child("a")
    with pytest.raises((BlockingIOError, TimeoutError)):
        a.run("while True: os.fork()", timeout=3)
    assert world.cgroup.statistics().pids_current <= 48
    assert len(procfs.pids()) < before + 60
    assert world.victim.alive and world.victim.ticking(within=5)


def test_a_leaker_is_ended_by_the_oom_killer_and_the_victim_is_not(world: World) -> None:
    a = world.child("a")
    with pytest.raises(Unavailable, match=r"child 'a' was ended by SIGKILL \(.*OOM killer"):
        a.run("hoard = []\nwhile True: hoard.append(bytearray(b'x' * (1 << 20)))")
    assert world.victim.alive and world.victim.ticking(within=5)
    assert world.alive


def test_init_survives_a_kill_of_everybody_from_inside(world: World) -> None:
    with pytest.raises(Unavailable):
        world.child("a").run("os.kill(-1, signal.SIGKILL); os.kill(os.getpid(), signal.SIGKILL)")
    assert world.alive and not world.victim.alive
    assert world.child("b").eval("1") == 1


# ---- children in it --------------------------------------------------------------------


def test_a_child_is_known_by_its_name_and_made_anew_when_it_has_ended(world: World) -> None:
    a = world.child("a")
    a.run("x = 1")
    assert world.child("a") is a
    with pytest.raises(Unavailable, match="ended itself with exit code 4"):
        a.run("os._exit(4)")
    again = world.child("a")
    assert again is not a and again.run("'x' in globals()") == "False\n"


def test_a_child_of_a_bad_name_is_refused(world: World) -> None:
    with pytest.raises(InvalidParameter, match="child name '../x'"):
        world.child("../x")
    assert len(world.processes()) == 2


def test_orphans_are_reaped_and_show_their_new_parent(world: World) -> None:
    a = world.child("a")
    a.run(
        "pid = os.fork()\nif not pid:\n    os.fork()\n    time.sleep(0.1)\nelse: os.waitpid(pid, 0)"
    )
    time.sleep(0.4)
    assert a.run("sh('ps')").count("Z") == 0
    assert len(world.processes()) == 3


def test_starting_is_quick(seat: Instance) -> None:
    with World("warm"):
        pass
    start = time.monotonic()
    with World("t") as world:
        started = time.monotonic() - start
        world.child("a")
        child = time.monotonic() - start - started
    assert (started < 2, child < 0.5) == (True, True)  # alone: 0.15 and 0.005


# ---- the end -----------------------------------------------------------------------------


def test_close_leaves_nothing_and_can_be_repeated(seat: Instance) -> None:
    world = World("t")
    a = world.child("a")
    a.run("spawn(time.sleep, 60)")
    init, victim = pidfd_open(world.pid), pidfd_open(world.victim.pid)
    world.close()
    world.close()
    assert ended(init) and ended(victim)
    assert not (world.alive or world.victim.alive or a.alive)
    assert os.listdir(f"{seat.root}/worlds") == []
    with pytest.raises(Unavailable, match="world 't' has ended"):
        world.child("b")


def test_a_world_in_the_middle_of_a_fork_bomb_can_be_closed(seat: Instance) -> None:
    with World("t", pids=40) as world:
        with pytest.raises((BlockingIOError, TimeoutError)):
            world.child("a").run("while True: os.fork()", timeout=2)


def test_a_frozen_world_can_be_closed(seat: Instance) -> None:
    with World("t") as world:
        world.cgroup.freeze()


def test_a_world_whose_init_was_killed_says_so(world: World) -> None:
    a = world.child("a")
    os.kill(world.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert not world.alive
    with pytest.raises(Unavailable, match="ended"):
        a.run("1")
    with pytest.raises(Unavailable, match="world 't' has ended"):
        world.processes()


def test_everything_ends_when_the_kernel_is_killed_and_the_ledger_knows_the_rest(
    seat: Instance,
) -> None:
    code = """
        import time
        from labkit.lab.ledger import Ledger
        from labkit.lab.world import World
        from labkit.paths import Instance
        world = World("nb02", ledger=Ledger(Instance(), "nb02"))
        a = world.child("a")
        a.run("spawn(time.sleep, 60)")
        print(world.pid, world.victim.pid, a.pid, *world.cgroup.pids(recursive=True), flush=True)
        time.sleep(60)
    """
    kernel = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert kernel.stdout
    members = [pidfd_open(int(pid)) for pid in kernel.stdout.readline().split()]
    assert len(members) == 7
    kernel.kill()
    kernel.communicate()
    assert all([ended(member) for member in members])
    assert cgroups.open(seat.name("nb02/machine")).pids(recursive=True) == []
    assert not [outcome for outcome in reset(seat, "nb02") if outcome.kept]


def test_the_ledger_is_empty_after_close(seat: Instance) -> None:
    ledger = Ledger(seat, "nb02")
    with World("nb02", ledger=ledger) as world:
        world.group("x")
        assert {entry.kind for entry in ledger.entries} == {"cgroup", "path"}
    assert ledger.entries == ()


# ---- bad input -----------------------------------------------------------------------------


def test_a_second_world_of_the_same_name_is_a_conflict_and_harms_nobody(world: World) -> None:
    with pytest.raises(Conflict, match="there is a cgroup"):
        World("t")
    assert world.victim.ticking()


@pytest.mark.parametrize(
    "limits", [{"memory_mib": 0}, {"memory_mib": "x"}, {"pids": -1}, {"pids": 1}]
)
def test_limits_that_cannot_be_are_refused(seat: Instance, limits: dict[str, int]) -> None:
    with pytest.raises(InvalidParameter):
        World("t", **limits)


def test_no_busybox_is_told_and_nothing_is_left(
    seat: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.lab.base.shutil.which", lambda *_, **__: None)
    with pytest.raises(Unsupported, match="busybox-static"):
        World("t")
