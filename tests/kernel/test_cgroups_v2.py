"""What only cgroup v2 has: controllers handed down, delegation, memory.high, pressure per group."""

import errno
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from labkit import cgroups
from labkit.cgroups import DeviceRule, Limits, v2
from labkit.errors import Conflict, Unsupported

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]

MIB = 1 << 20
WAIT = "sys.stdin.readline()"


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


def events(group, file="memory.events"):
    return dict(line.split() for line in group.read(file).splitlines())


# ---- controllers ------------------------------------------------------------


def test_controllers_are_enabled_from_the_root_down(group):
    inner = cgroups.create(f"{group.name}/a/b")
    for above in (group, *group.children()):
        assert set(above.read("cgroup.subtree_control").split()) == set(v2.CONTROLLERS)
    assert set(inner.read("cgroup.controllers").split()) == set(v2.CONTROLLERS)
    assert inner.read("cgroup.subtree_control") == ""


def test_a_group_with_members_gets_no_children(group, member):
    process = member(group, WAIT)
    message = f"group {group.name} has members and controllers: .* move the processes to a child"
    with pytest.raises(Conflict, match=message):
        group.child("inner")
    assert group.children() == [] and group.pids() == [process.pid]


def test_a_group_that_hands_down_controllers_takes_no_members(group, member):
    inner = group.child("inner")
    process = member(inner, WAIT)
    message = (
        f"group {group.name} has members and controllers: it cannot take process {process.pid}"
    )
    with pytest.raises(Conflict, match=message):
        group.add(process.pid)
    assert inner.pids() == [process.pid]


def test_a_limit_whose_controller_was_not_handed_down_says_so(group):
    inner = group.child("inner")
    group.write("cgroup.subtree_control", "-pids")
    with pytest.raises(Unsupported, match=r"has no pids\.max: its controller is not enabled"):
        inner.set(Limits(pids_max=5))
    assert inner.limits().pids_max is None and inner.statistics().pids_current is None


# ---- limits that v1 lacks ---------------------------------------------------


def test_the_limits_of_v2_are_read_back(group):
    wanted = {
        "memory_high": 16 * MIB, "memory_low": 8 * MIB, "memory_oom_group": True,
        "memory_swap_max": 0, "memory_max": math.inf,
    }  # fmt: skip
    group.set(Limits(**wanted))
    found = dict(group.limits().items())
    assert {name: found[name] for name in wanted} == wanted


def test_above_memory_high_a_process_is_slowed_down_and_lives(group, member):
    group.set(Limits(memory_high=16 * MIB, memory_swap_max=0))
    code = "hoard = [bytearray(1 << 20) for _ in range(18)]\nprint(1, flush=True)\n" + WAIT
    process = member(group, code)
    wait_for(lambda: int(events(group)["high"]) > 0)
    assert process.poll() is None and group.statistics().oom_kills == 0


def test_with_oom_group_all_members_go_at_once(group, member):
    group.set(Limits(memory_max=24 * MIB, memory_swap_max=0, memory_oom_group=True))
    bystander = member(group, WAIT)
    process = member(group, "hoard = [bytearray(1 << 20) for _ in range(64)]")
    assert process.wait(timeout=30) == bystander.wait(timeout=30) == -signal.SIGKILL
    assert events(group)["oom_group_kill"] == "1"
    assert group.statistics().oom_kills >= 2  # the one chosen first may be counted twice


# ---- freezing and killing ---------------------------------------------------


def test_frozen_is_what_the_kernel_reports_of_the_whole_tree(group, member):
    inner = group.child("inner")
    member(inner, WAIT)
    group.freeze()
    assert inner.frozen and inner.read("cgroup.freeze") == "0"
    assert events(group, "cgroup.events") == {"populated": "1", "frozen": "1"}
    group.thaw()
    wait_for(lambda: not inner.frozen)


def test_forkers_are_killed_also_without_cgroup_kill(group, member, monkeypatch):
    group.set(Limits(pids_max=20))
    inner = group.child("inner")
    member(inner, "while True:\n try: os.fork(), os.setsid()\n except OSError: pass")
    wait_for(lambda: group.statistics().pids_refused > 0)
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda p: not p.endswith("cgroup.kill") and exists(p))
    group.kill(timeout=60)
    assert not group.populated and not group.frozen


# ---- the rest ---------------------------------------------------------------


def test_pressure_is_counted_for_the_group_itself(group, member):
    group.set(Limits(cpus="0"))
    quiet = group.child("quiet")
    busy = group.child("busy")
    for _ in range(2):
        member(busy, "while True: pass")
    wait_for(lambda: busy.pressure("cpu").some_us > 10_000)
    assert quiet.pressure("cpu").some_us == 0
    assert busy.pressure("memory").full_us >= 0 and busy.pressure("io").some_us >= 0


def test_device_rules_are_one_program_and_bind_the_groups_below(group, member):
    code = """
        for path in ("/dev/null", "/dev/zero"):
            try:
                os.close(os.open(path, os.O_RDWR))
                print(0, end=" ", flush=True)
            except OSError as error:
                print(error.errno, end=" ", flush=True)
    """
    everything = DeviceRule("a", "rwm", None, None, True)
    group.allow_devices([everything, DeviceRule("c", "rwm", 1, 5, False)])
    inner = group.child("inner")
    inner.allow_devices([everything])
    assert member(inner, code).communicate()[0] == f"0 {errno.EPERM} "
    group.allow_devices([everything])
    assert member(inner, code).communicate()[0] == "0 0 "


def test_a_delegated_group_is_divided_by_its_user_who_cannot_raise_its_limits(group):
    group.set(Limits(pids_max=20))
    group.delegate(65534, 65534)
    code = f"""
import os, sys
os.setgid(65534); os.setuid(65534)
sys.path.insert(0, {os.path.dirname(os.path.dirname(v2.__file__))[: -len("/labkit")]!r})
from labkit import cgroups
group = cgroups.open({group.name!r})
inner = group.child("mine", cgroups.Limits(pids_max=5))
print(inner.limits().pids_max, group.children())
try:
    group.set(cgroups.Limits(pids_max=50))
except PermissionError as error:
    print(error.filename)
inner.remove()
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        f"5 [<Cgroup {group.name}/mine (v2)>]",
        group.path("pids.max"),
    ], done.stderr
    assert group.limits().pids_max == 20
