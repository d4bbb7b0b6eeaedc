"""The words that cgroups v1 and v2 share: each test runs on both, and asks for the effect."""

import errno
import math
import os
import signal
import subprocess
import time

import pytest

from labkit import cgroups
from labkit.cgroups import DeviceRule, IoMax, Limits
from labkit.errors import Conflict, InvalidParameter, NotFound, Unavailable, Unsupported
from labkit.paths import Instance

pytestmark = pytest.mark.root

MIB = 1 << 20
SPIN = "while True: pass"
WAIT = "sys.stdin.readline()"
#: every process makes others until the test ends it; the groups it runs in hold 30 at most
FORKER = """
while True:
    try:
        os.fork()
        os.setsid()
    except OSError:
        pass
"""


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


def usage(group):
    return group.statistics().cpu_usage_us


# ---- life -------------------------------------------------------------------


def test_a_group_is_there_inside_the_with_block_and_gone_after_it():
    with cgroups.create(Instance().name(f"life{os.getpid()}")) as group:
        assert all(os.path.isdir(directory) for directory in group.directories)
        assert cgroups.open(group.name).pids() == []
    assert not any(os.path.exists(directory) for directory in group.directories)


def test_parents_made_on_the_way_go_too_and_older_ones_stay(group):
    with cgroups.create(f"{group.name}/a/b") as inner:
        assert [child.name for child in group.children()] == [f"{group.name}/a"]
    assert not inner.exists and group.children() == [] and group.exists


def test_close_takes_the_whole_tree_and_may_come_twice(group, member):
    grandchild = group.child("a").child("b")
    process = member(grandchild, WAIT)
    group.close()
    group.close()
    assert not group.exists and process.wait() == -signal.SIGKILL


def test_a_failed_creation_leaves_nothing(group):
    with pytest.raises(InvalidParameter, match="no CPU 4000 here"):
        cgroups.create(f"{group.name}/a/b", Limits(cpus="4000"))
    assert group.children() == []


def test_what_the_kernel_refuses_comes_with_path_and_value_and_leaves_nothing(group, monkeypatch):
    monkeypatch.setattr(type(group), "plan", lambda self, limits: [("pids.max", "many")])
    with pytest.raises(OSError, match=r"writing 'many'.*/a/pids\.max") as caught:
        group.child("a", Limits(pids_max=1))
    assert caught.value.errno == errno.EINVAL and group.children() == []


def test_a_name_that_is_taken_is_refused(group):
    with pytest.raises(Conflict, match=f"there is a cgroup '{group.name}' already"):
        cgroups.create(group.name)
    assert group.exists


def test_a_group_that_was_never_made_is_not_found():
    with pytest.raises(NotFound, match="'labkit-nowhere/x'"):
        cgroups.open("labkit-nowhere/x")


@pytest.mark.parametrize(
    "use",
    [
        lambda g: g.statistics(),
        lambda g: g.limits(),
        lambda g: g.set(Limits(pids_max=5)),
        lambda g: g.pids(),
        lambda g: g.add(os.getpid()),
        lambda g: g.child("x"),
        lambda g: g.freeze(),
        lambda g: g.frozen,
        lambda g: g.populated,
        lambda g: g.allow_devices([]),
    ],
)
def test_a_group_that_is_gone_says_so(group, use):
    group.remove()
    with pytest.raises(NotFound, match=f"no cgroup '{group.name}' any more"):
        use(group)


# ---- members ----------------------------------------------------------------


def test_members_are_listed_and_populated_follows_them(group, member):
    child = group.child("inner")
    assert group.pids() == [] and not group.populated
    process = member(child, WAIT)
    assert child.pids() == group.pids(recursive=True) == [process.pid]
    assert group.pids() == [] and group.populated
    process.kill()
    wait_for(lambda: not group.populated)  # a zombie is no member
    assert process.poll() is not None


def test_a_process_can_add_itself(group, program):
    done = program(
        """
        from labkit import cgroups
        group = cgroups.open(sys.argv[1])
        group.add()
        assert group.pids() == [os.getpid()], group.pids()
        assert all(sys.argv[1] in path for name, path in procfs.cgroups().items() if name in
                   ("memory", "cpu", "pids", "cpuset", "blkio", "devices", "freezer"))
        for verb in (group.kill, group.freeze, group.close):
            try:
                verb()
            except Conflict as error:
                print(error)
        """,
        group.name,
    )
    lines = done.stdout.splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "to kill it would be to kill itself",
        "to freeze it would be to freeze itself",
        "to kill it would be to kill itself",
    ]


def test_all_threads_of_the_caller_move(group, program):
    program(
        """
        import threading
        from labkit import cgroups
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        cgroups.open(sys.argv[1]).add()
        for tid in os.listdir("/proc/self/task"):
            assert sys.argv[1] in procfs.read("self", f"task/{tid}/cgroup"), tid
        """,
        group.name,
    )


def test_a_dead_pid_is_named(group):
    done = subprocess.Popen(["true"])
    done.wait()
    with pytest.raises(ProcessLookupError, match=f"writing '{done.pid}'"):
        group.add(done.pid)
    for pid in (-1, "7", True):
        with pytest.raises(InvalidParameter, match=f"pid .* not {pid!r}"):
            group.add(pid)


def test_a_group_with_members_is_not_removed(group, member):
    process = member(group, WAIT)
    with pytest.raises(Conflict, match=rf"has members \[{process.pid}\]"):
        group.remove()
    assert group.pids() == [process.pid]


# ---- limits -----------------------------------------------------------------


def test_limits_are_read_back_from_the_kernel(group):
    wanted = {"memory_max": 32 * MIB, "cpu_max": 0.5, "cpu_weight": 300, "pids_max": 20}
    group.set(Limits(**wanted, cpus="0"))
    found = dict(group.limits().items())
    assert {name: found[name] for name in wanted} == wanted and found["cpus"] == "0"


def test_infinity_takes_a_limit_away_and_none_leaves_it(group):
    group.set(Limits(memory_max=32 * MIB, cpu_max=0.5, pids_max=20))
    group.set(Limits(memory_max=math.inf))
    assert (group.limits().memory_max, group.limits().pids_max) == (math.inf, 20)
    group.set(Limits(cpu_max=math.inf, pids_max=math.inf))
    assert (group.limits().cpu_max, group.limits().pids_max) == (math.inf, math.inf)


def test_a_memory_limit_moves_up_and_down_with_swap_switched_off(group):
    for mib in (32, 64, 16):
        group.set(Limits(memory_max=mib * MIB, memory_swap_max=0))
        assert (group.limits().memory_max, group.limits().memory_swap_max) == (mib * MIB, 0)
    group.set(Limits(memory_max=128 * MIB))
    assert (group.limits().memory_max, group.limits().memory_swap_max) == (128 * MIB, 0)


def test_a_plan_is_what_set_writes_and_writes_nothing(group):
    limits = Limits(memory_max=32 * MIB, cpu_max=0.5, pids_max=20)
    before = group.limits()
    plan = group.plan(limits)
    assert group.limits() == before
    group.set(limits)
    assert [(file, group.read(file)) for file, _ in plan] == plan


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(cpus="0-4000"), "cpus='0-4000': no CPU"),
        (Limits(io_max={"250:77": IoMax(rbps=1)}), "no block device '250:77'"),
        (Limits(io_max={"/dev/vda": IoMax(rbps=1)}), "no block device '/dev/vda'"),
    ],
)
def test_what_this_machine_does_not_have_is_named(group, limits, message):
    before = group.limits()
    with pytest.raises(InvalidParameter, match=message):
        group.set(limits)
    assert group.limits() == before


# ---- effects ----------------------------------------------------------------


def test_a_process_above_the_memory_limit_is_killed_and_counted(group, member):
    group.set(Limits(memory_max=24 * MIB, memory_swap_max=0))
    spared, greedy = group.child("spared"), group.child("greedy")
    bystander = member(spared, WAIT)
    process = member(greedy, "hoard = [bytearray(1 << 20) for _ in range(64)]")
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert greedy.statistics().oom_kills == group.statistics().oom_kills == 1
    assert spared.statistics().oom_kills == 0 and bystander.poll() is None
    assert 16 * MIB < group.statistics().memory_peak <= 24 * MIB


def test_a_quota_holds_and_its_throttling_is_counted(group, member):
    group.set(Limits(cpu_max=0.2))
    member(group, SPIN)
    wait_for(lambda: group.statistics().throttled > 0)
    before, start = group.statistics(), time.monotonic()
    time.sleep(1)
    after, wall = group.statistics(), (time.monotonic() - start) * 1e6
    assert 0.05 < (after.cpu_usage_us - before.cpu_usage_us) / wall < 0.3
    assert after.periods - before.periods >= 5
    assert after.throttled > before.throttled and after.throttled_us > before.throttled_us


def test_weights_divide_one_cpu_three_to_one(group, member):
    group.set(Limits(cpus="0"))
    heavy = group.child("heavy", Limits(cpu_weight=300))
    light = group.child("light", Limits(cpu_weight=100))
    spinning = [member(child, f"print(flush=True)\n{SPIN}") for child in (heavy, light)]
    for process in spinning:  # what the start of Python costs is not divided fairly
        process.stdout.readline()
    start = usage(heavy), usage(light)
    wait_for(lambda: usage(light) - start[1] > 250_000)
    ratio = (usage(heavy) - start[0]) / (usage(light) - start[1])
    assert 2.0 < ratio < 4.5


def test_a_fork_bomb_is_contained_and_its_refusals_are_counted(group, member):
    group.set(Limits(pids_max=10))
    bomb = group.child("bomb")
    member(bomb, FORKER)
    for _ in range(10):
        wait_for(lambda: group.statistics().pids_refused > 0)
        assert group.statistics().pids_current <= 10
        time.sleep(0.02)
    assert bomb.statistics().pids_refused > 0


def test_a_frozen_group_uses_no_time_until_it_is_thawed(group, member):
    member(group.child("inner"), SPIN)
    wait_for(lambda: usage(group) > 0)
    group.freeze()
    assert group.frozen
    before = usage(group)
    time.sleep(0.3)
    assert usage(group) == before
    group.thaw()
    assert not group.frozen
    wait_for(lambda: usage(group) > before)


def test_kill_ends_racing_forkers_in_all_groups_below(group, member):
    group.set(Limits(pids_max=30))
    for name in ("a", "b"):
        member(group.child(name), FORKER)
    wait_for(lambda: group.statistics().pids_refused > 0)
    group.kill()
    assert group.pids(recursive=True) == [] and not group.populated


def test_kill_ends_a_frozen_group(group, member):
    process = member(group, WAIT)
    group.freeze()
    group.kill()
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_members_that_do_not_die_are_named(group, member, monkeypatch):
    process = member(group, WAIT)
    with monkeypatch.context() as patch:
        patch.setattr(type(group), "_end_members", lambda self: None)
        with pytest.raises(Unavailable, match=rf"there are still \[{process.pid}\]"):
            group.kill(timeout=0.05)
    group.kill()


@pytest.fixture
def disk_file():
    """The path of a file on a disk, and the disk."""
    path = f"/var/tmp/labkit-io{os.getpid()}"
    with open(path, "wb") as file:
        try:
            device = cgroups.device_of(path)
        except Unsupported as reason:
            os.unlink(path)
            pytest.skip(str(reason))
        os.posix_fallocate(file.fileno(), 0, MIB)
    yield path, device
    os.unlink(path)


def test_direct_writes_to_a_disk_are_slowed_down(group, member, disk_file):
    path, device = disk_file
    code = f"""
        import mmap
        fd = os.open({path!r}, os.O_WRONLY | os.O_DIRECT)
        start = time.monotonic()
        for place in range(0, {MIB}, {MIB // 8}):
            os.pwrite(fd, mmap.mmap(-1, {MIB // 8}), place)
        print(time.monotonic() - start, flush=True)
    """
    group.set(Limits(io_max={device: IoMax(wbps=MIB)}))
    assert group.limits().io_max == {device: IoMax(math.inf, MIB, math.inf, math.inf)}
    seconds = float(member(group, code).stdout.readline())
    assert seconds > 0.6  # 1 MiB at 1 MiB/s; the kernel lets the first slice pass at once
    assert group.statistics().io_write_bytes >= MIB


def test_only_allowed_devices_can_be_opened(group, member):
    code = """
        for path in ("/dev/null", "/dev/zero"):
            try:
                os.close(os.open(path, os.O_RDWR))
                print(path, 0, flush=True)
            except OSError as error:
                print(path, error.errno, flush=True)
    """
    rules = [DeviceRule("c", "rwm", 1, 3, True), DeviceRule("c", "r", 1, 5, True)]
    group.allow_devices(rules)
    assert member(group, code).communicate()[0] == f"/dev/null 0\n/dev/zero {errno.EPERM}\n"
    group.allow_devices([DeviceRule("a", "rwm", None, None, True)])
    assert member(group, code).communicate()[0] == "/dev/null 0\n/dev/zero 0\n"


# ---- pressure ---------------------------------------------------------------


def test_the_machines_pressure_grows_with_two_spinners_on_one_cpu(group, member):
    group.set(Limits(cpus="0"))
    before = cgroups.system_pressure("cpu")
    for _ in range(2):
        member(group, SPIN)
    wait_for(lambda: cgroups.system_pressure("cpu").some_us > before.some_us)
    with pytest.raises(InvalidParameter, match="not 'gpu'"):
        cgroups.system_pressure("gpu")
