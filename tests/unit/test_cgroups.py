"""Limits, plans and formats that need no group: nothing here touches a cgroup file system."""

import math

import pytest

from labkit import cgroups
from labkit.cgroups import DeviceRule, IoMax, Limits, Pressure, Statistics, limits, v1, v2
from labkit.cgroups.common import check_name, check_pid
from labkit.cgroups.devices import v1_writes
from labkit.errors import InvalidParameter, Unsupported
from labkit.linux.procfs import MountInfo

V1 = [
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd",
]
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
V2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"
ELSEWHERE = "90 23 0:32 / /mnt/root/sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"


def mounts(*lines):
    return [MountInfo(line) for line in lines]


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        ([V2], "v2"),
        (V1, "v1"),
        ([*V1, UNIFIED], "v1"),
        ([*V1, V2], "v2"),  # the last mount at a point covers what was there
        ([V2, V1[0], *V1], "v1"),
    ],
)
def test_the_version_is_what_is_mounted_at_sys_fs_cgroup(lines, version):
    assert cgroups.detect(mounts(*lines)) == version


@pytest.mark.parametrize("lines", [[], [V1[0]], [V1[0], UNIFIED], [ELSEWHERE]])
def test_without_controllers_mounted_there_is_no_version(lines):
    with pytest.raises(Unsupported, match="no cgroup file system"):
        cgroups.detect(mounts(*lines))


def test_v1_controllers_come_from_mountinfo_also_when_they_share_a_mount():
    assert v1.hierarchies(mounts(*V1, UNIFIED, ELSEWHERE)) == {
        "memory": "/sys/fs/cgroup/memory",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
    }


# ---- limits -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"memory_max": -5}, "memory_max must be a whole number of bytes, 4096 or more.*not -5"),
        ({"memory_max": 0}, "memory_max .* not 0"),
        ({"memory_max": 4096.5}, "memory_max .* not 4096.5"),
        ({"memory_max": "64M"}, "memory_max .* not '64M'"),
        ({"memory_max": True}, "memory_max .* not True"),
        ({"memory_max": math.nan}, "memory_max .* not nan"),
        ({"memory_swap_max": -1}, "memory_swap_max .* not -1"),
        ({"memory_oom_group": "yes"}, "memory_oom_group must be True or False, not 'yes'"),
        ({"cpu_max": 0}, "cpu_max must be a number of CPUs, 0.01 or more, not 0"),
        ({"cpu_max": math.nan}, "cpu_max .* not nan"),
        ({"cpu_max": "half"}, "cpu_max .* not 'half'"),
        ({"cpu_weight": 0}, "cpu_weight must be a whole number, 1 to 10000, not 0"),
        ({"cpu_weight": 10_001}, "cpu_weight .* not 10001"),
        ({"cpu_weight": math.inf}, "cpu_weight .* not inf"),
        ({"pids_max": -1}, "pids_max .* not -1"),
        ({"pids_max": -math.inf}, "pids_max .* not -inf"),
        ({"cpus": "9-8"}, "cpus='9-8': the range 9-8 runs backwards"),
        ({"cpus": ""}, "cpus='' is not a list of CPUs"),
        ({"cpus": "0,x"}, "cpus='0,x' is not"),
        ({"cpus": "0-"}, "cpus='0-' is not"),
        ({"cpus": "0-99999999999"}, "is not a list of CPUs"),
        ({"cpus": 1}, "cpus=1 is not a list of CPUs"),
        ({"io_max": {"8:0": 5}}, "io_max must be a dictionary from 'MAJ:MIN' to IoMax"),
        ({"io_max": IoMax(rbps=5)}, "io_max must be a dictionary"),
    ],
)
def test_an_impossible_limit_is_refused_with_its_value(values, message):
    with pytest.raises(InvalidParameter, match=message):
        Limits(**values)


@pytest.mark.parametrize("value", [0, -1, 1.5, "1M"])
def test_an_impossible_io_ceiling_is_refused_with_its_value(value):
    with pytest.raises(InvalidParameter, match=f"io_max wbps .* not {value!r}"):
        IoMax(wbps=value)


def test_limits_show_and_compare_what_is_set():
    assert repr(Limits(memory_max=2.0**26, cpus="0")) == "Limits(memory_max=67108864, cpus='0')"
    assert Limits(pids_max=5) == Limits(pids_max=5) != Limits(pids_max=6)
    assert Limits() != IoMax() and repr(Limits()) == "Limits()"


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", {0}), ("0-2", {0, 1, 2}), ("0-1,3,5-5", {0, 1, 3, 5})]
)
def test_lists_of_cpus(text, cpus):
    assert limits.cpu_list(text) == cpus


@pytest.mark.parametrize("name", ["", "/x", "../x", "a/../b", "a//b", "a/", ".", "a\nb", " a", 7])
def test_a_name_that_could_leave_the_hierarchy_is_refused(name):
    with pytest.raises(InvalidParameter, match="is not a relative path"):
        check_name(name)


@pytest.mark.parametrize("limits", [48, {"pids_max": 5}, "48m"])
def test_what_is_no_limits_is_refused(limits):
    with pytest.raises(InvalidParameter, match=r"limits must be Limits\(\.\.\.\), not "):
        v1.Group("labkit-none", {}).make(limits)


@pytest.mark.parametrize(
    ("pid", "message"),
    [
        (-1, "pid must be 0 (the caller) or more, not -1"),
        (True, "pid must be a number, such as an object's .pid, not True"),
        ("1", "pid must be a number, such as an object's .pid, not '1'"),
    ],
)
def test_a_pid_is_a_number(pid, message):
    with pytest.raises(InvalidParameter) as caught:
        check_pid(pid)
    assert str(caught.value) == message


# ---- v1 ---------------------------------------------------------------------


def v1_group(*controllers):
    return v1.Group("labkit-none", {name: f"/nowhere/{name}" for name in controllers})


def test_the_v1_plan_names_the_files_that_docker_sets():
    group = v1_group("memory", "cpu", "pids", "cpuset")
    wanted = Limits(memory_max=64 << 20, cpu_max=0.5, cpu_weight=100, pids_max=20, cpus="0")
    assert group.plan(wanted) == [
        ("memory.limit_in_bytes", "67108864"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.shares", "2598"),
        ("pids.max", "20"),
        ("cpuset.cpus", "0"),
    ]
    unlimited = Limits(memory_max=math.inf, cpu_max=math.inf, pids_max=math.inf)
    assert group.plan(unlimited) == [
        ("memory.limit_in_bytes", "-1"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "-1"),
        ("pids.max", "max"),
    ]


def test_v1_counts_swap_together_with_memory():
    plan = v1_group("memory").plan(Limits(memory_max=64 << 20, memory_swap_max=1 << 20))
    assert plan == [
        ("memory.limit_in_bytes", str(64 << 20)),
        ("memory.memsw.limit_in_bytes", str(65 << 20)),
    ]
    with pytest.raises(InvalidParameter, match="memory_swap_max=0 needs a memory_max"):
        v1_group("memory").plan(Limits(memory_swap_max=0))


@pytest.mark.parametrize(
    ("values", "controller"),
    [({"pids_max": 5}, "pids"), ({"cpus": "0"}, "cpuset"), ({"cpu_max": 1}, "cpu")],
)
def test_v1_names_the_controller_that_is_not_mounted(values, controller):
    with pytest.raises(Unsupported, match=f"v1 controller {controller} is not mounted"):
        v1_group("memory").plan(Limits(**values))


@pytest.mark.parametrize("name", ["memory_high", "memory_low", "memory_oom_group"])
def test_v1_names_the_limit_that_only_v2_has(name):
    value = True if name == "memory_oom_group" else 1 << 20
    with pytest.raises(Unsupported, match=f"{name} needs cgroup v2"):
        v1_group("memory").plan(Limits(**{name: value}))


def test_every_weight_survives_the_way_through_shares():
    assert all(v1.weight(v1.shares(weight)) == weight for weight in range(1, 10_001))
    assert (v1.shares(1), v1.shares(10_000), v1.weight(1024)) == (2, 262_144, 39)


ALL = DeviceRule("a", "rwm", None, None, True)
NONE = DeviceRule("a", "rwm", None, None, False)


def rule(number, access="rwm", *, allow=True):
    return DeviceRule("c", access, *number, allow)


def test_v1_denies_everything_first_then_follows_the_rules():
    rules = [rule((1, 3)), rule((1, 3), "w", allow=False), ALL, rule((5, None), allow=False), NONE]
    assert v1_writes(rules) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.deny", "c 1:3 w"),
        ("devices.allow", "a"),
        ("devices.deny", "c 5:* rwm"),
        ("devices.deny", "a"),
    ]


@pytest.mark.parametrize(
    "rules",
    [
        [rule((1, None)), rule((1, 3), allow=False)],
        [rule((1, 3)), rule((None, None), allow=False)],
        [ALL, rule((1, None), allow=False), rule((1, 3))],
    ],
)
def test_v1_refuses_a_rule_that_cuts_a_piece_out_of_another(rules):
    with pytest.raises(Unsupported, match="cgroup v1 cannot hold .*: the numbers must be equal"):
        v1_writes(rules)


# ---- v2 ---------------------------------------------------------------------


@pytest.fixture
def v2_group(tmp_path, monkeypatch):
    """A group that plans as on a machine that offers cpu, io, memory and pids."""
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    monkeypatch.setattr(v2, "ROOT", str(tmp_path))
    return v2.Group("labkit-none")


def test_the_v2_plan_names_the_files_that_docker_sets(v2_group):
    wanted = Limits(
        memory_max=64 << 20, memory_swap_max=0, memory_high=math.inf, memory_oom_group=True,
        cpu_max=0.5, cpu_weight=300, pids_max=math.inf,
    )  # fmt: skip
    assert v2_group.plan(wanted) == [
        ("memory.high", "max"),
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("cpu.weight", "300"),
        ("pids.max", "max"),
        ("memory.oom.group", "1"),
        ("cpu.max", "50000 100000"),
    ]
    assert v2_group.plan(Limits(cpu_max=math.inf)) == [("cpu.max", "max 100000")]


def test_io_ceilings_are_one_line_per_disk(v2_group, monkeypatch):
    ceilings = IoMax(rbps=1000, wiops=math.inf)
    monkeypatch.setattr(v2, "check_machine", lambda limits: None)
    monkeypatch.setattr(v1, "check_machine", lambda limits: None)
    assert v2_group.plan(Limits(io_max={"8:0": ceilings, "8:16": IoMax(wbps=7)})) == [
        ("io.max", "8:0 rbps=1000 wiops=max"),
        ("io.max", "8:16 wbps=7"),
    ]
    assert v1_group("blkio").plan(Limits(io_max={"8:0": ceilings})) == [
        ("blkio.throttle.read_bps_device", "8:0 1000"),
        ("blkio.throttle.write_iops_device", "8:0 0"),
    ]


def test_v2_names_the_controller_that_is_not_offered(v2_group):
    with pytest.raises(Unsupported, match="cpuset.cpus: .* does not offer cpuset, only cpu io"):
        v2_group.plan(Limits(cpus="0"))


# ---- formats ----------------------------------------------------------------


def test_pressure_is_read_with_and_without_a_full_line():
    some = "some avg10=66.06 avg60=30.63 avg300=9.08 total=47943161\n"
    full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n"
    assert Pressure.parse(some + full) == Pressure(47943161, 12)
    assert Pressure.parse(some) == Pressure(47943161, 0)


def test_statistics_leave_out_what_is_not_counted():
    assert dict(Statistics(oom_kills=0, pids_current=3).items()) == {
        "oom_kills": 0,
        "pids_current": 3,
    }


def test_a_path_without_a_disk_says_so():
    with pytest.raises(Unsupported, match="/proc lies on no block device"):
        cgroups.device_of("/proc")
