"""What only cgroup v1 has: several hierarchies, shares, memsw, freezer states, device lists."""

import errno
import os
import signal
import time

import pytest

from labkit import cgroups
from labkit.cgroups import DeviceRule, Limits, v1
from labkit.errors import Conflict, NotFound, Unsupported
from labkit.linux import procfs

HIERARCHIES = v1.hierarchies(procfs.mountinfo())

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not HIERARCHIES, reason="no cgroup v1 controller is mounted"),
]

WAIT = "sys.stdin.readline()"


def test_a_group_is_one_directory_per_hierarchy(group):
    assert sorted(group.directories) == sorted(
        {f"{point}/{group.name}" for point in HIERARCHIES.values()}
    )
    assert group.path("memory.limit_in_bytes").startswith(f"{HIERARCHIES['memory']}/{group.name}/")


def test_a_new_cpuset_has_what_its_parent_has(group):
    inner = cgroups.create(f"{group.name}/a/b")
    for file in ("cpuset.cpus", "cpuset.mems"):
        with open(f"{HIERARCHIES['cpuset']}/{file}") as parent:
            assert inner.read(file) == parent.read().strip()


def test_a_group_half_made_or_half_removed_is_found_and_removed(group):
    name = f"{group.name}/half"
    os.mkdir(f"{HIERARCHIES['pids']}/{name}")
    with cgroups.open(name) as half:
        assert half.exists and half.pids() == []
    assert not half.exists
    with pytest.raises(NotFound):
        cgroups.open(name)


def test_a_member_of_one_hierarchy_alone_is_seen_and_killed(group, member):
    inner = group.child("inner")
    process = member(group, WAIT)
    with open(inner.path("pids.max").replace("pids.max", "cgroup.procs"), "w") as file:
        file.write(str(process.pid))
    assert inner.pids() == [process.pid] and inner.populated
    inner.kill()
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_a_killed_member_of_a_frozen_group_lives_until_it_is_thawed(group, member):
    process = member(group, WAIT)
    group.freeze()
    assert group.read("freezer.state") == "FROZEN"
    process.kill()
    time.sleep(0.1)
    assert procfs.alive(process.pid)
    group.thaw()
    assert group.read("freezer.state") == "THAWED"
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_kill_thaws_children_that_were_frozen_by_themselves(group, member):
    inner = group.child("inner")
    process = member(inner, WAIT)
    inner.freeze()
    group.kill()
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_a_memory_limit_below_what_cannot_be_reclaimed_is_busy(group, member):
    group.set(Limits(memory_max=64 << 20, memory_swap_max=0))
    process = member(group, f"hoard = bytearray(24 << 20)\nprint(1, flush=True)\n{WAIT}")
    process.stdout.readline()
    with pytest.raises(OSError, match=r"memory\.limit_in_bytes") as caught:
        group.set(Limits(memory_max=4 << 20))
    assert caught.value.errno == errno.EBUSY and process.poll() is None


def test_a_child_cannot_have_more_quota_than_its_parent(group):
    group.set(Limits(cpu_max=0.5))
    with pytest.raises(OSError, match=r"cpu\.cfs_quota_us") as caught:
        group.child("more", Limits(cpu_max=0.6))
    assert caught.value.errno == errno.EINVAL and group.children() == []


def test_device_rules_are_the_list_that_the_kernel_shows(group):
    rules = [DeviceRule("c", "rwm", 1, 3, True), DeviceRule("c", "rw", 5, None, True)]
    group.allow_devices(rules)
    assert group.read("devices.list").splitlines() == ["c 1:3 rwm", "c 5:* rw"]
    group.allow_devices([rules[0], DeviceRule("c", "w", 1, 3, False)])
    assert group.read("devices.list").splitlines() == ["c 1:3 rm"]


def test_device_rules_come_before_children(group):
    group.child("inner")
    with pytest.raises(Conflict, match=f"'{group.name}' has children"):
        group.allow_devices([])


def test_what_v1_does_not_have_is_unsupported(group):
    with pytest.raises(Unsupported, match="pressure of memory per group needs cgroup v2"):
        group.pressure("memory")
    with pytest.raises(Unsupported, match="delegation to uid 1000 needs cgroup v2"):
        group.delegate(1000)
    with pytest.raises(Unsupported, match="memory_high needs cgroup v2"):
        group.child("x", Limits(memory_high=1 << 20))
    assert group.children() == []


def test_without_a_controller_the_rest_still_works(group):
    roots = {name: point for name, point in HIERARCHIES.items() if name in ("cpu", "memory")}
    with v1.Group(f"{group.name}/few", roots) as few:
        few.make(Limits(memory_max=32 << 20))
        assert few.limits().memory_max == 32 << 20 and few.limits().pids_max is None
        assert few.statistics().pids_current is None and few.statistics().memory_current == 0
        with pytest.raises(Unsupported, match="controller freezer is not mounted"):
            few.freeze()


def test_members_are_killed_also_without_a_freezer(group, member):
    roots = {name: point for name, point in HIERARCHIES.items() if name != "freezer"}
    with v1.Group(f"{group.name}/few", roots) as few:
        few.make(Limits(pids_max=10))
        member(few, "while True:\n try: os.fork()\n except OSError: pass")
        time.sleep(0.1)
    assert not few.exists
