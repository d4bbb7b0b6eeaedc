import math
from collections.abc import Iterator

import pytest

from labkit import cgroups
from labkit.cgroups import Limits
from labkit.errors import InvalidParameter, Unavailable
from labkit.lab.meter import History, Meter, favoured, follow, measure, pressure
from labkit.lab.workloads import MIB, Work, until
from labkit.lab.world import World
from labkit.paths import Instance


@pytest.fixture
def world(seat: Instance) -> Iterator[World]:
    with World("t", memory_mib=128, pids=64) as world:
        yield world


# ---- pictures of numbers that are made up ---------------------------------------


def made_up(used: list[float], limit: list[float]) -> History:
    return History([0.1 * n for n in range(len(used))], {"used": used, "limit": limit})


def test_the_caption_says_whether_memory_stayed_within_its_limit() -> None:
    assert made_up([10, 20], [20, 20]).chart("x").caption == (
        "limit 20 MiB; used stays within it: yes"
    )
    assert made_up([10, 21], [20, 20]).chart("x").caption.endswith("no")


def test_a_limit_that_moved_is_a_curve_and_is_compared_at_each_moment() -> None:
    chart = made_up([18, 9], [20, 10]).chart("x")
    assert chart.caption == "limit 20 MiB, then 10 MiB; used stays within it: yes"
    assert chart.alt == "x, over time: used, limit"
    assert made_up([18, 18], [20, 10]).chart("x").caption.endswith("no")


def test_the_caption_of_cpu_time_takes_the_average() -> None:
    series = {"used": [0.0, 60.0], "limit": [30.0, 30.0], "stopped": [100.0, 100.0]}
    assert History([0.1, 0.2], series).cpu_chart("x").caption == (
        "limit 30 percent; used within it, on average: yes; most periods cut short: yes"
    )
    series = {"used": [60.0, 60.0], "limit": [30.0, 30.0], "stopped": [0.0, 0.0]}
    assert History([0.1, 0.2], series).cpu_chart("x").caption == (
        "limit 30 percent; used within it, on average: no; most periods cut short: no"
    )


def test_one_history_can_be_put_behind_another() -> None:
    both = made_up([1, 2], [9, 9]).then(made_up([3, 4], [9, 9]))
    assert both.series["used"] == [1, 2, 3, 4]
    assert both.seconds == sorted(both.seconds) and len(both.seconds) == 4


def test_following_ends_at_the_time_or_at_the_event() -> None:
    numbers = iter(range(100))
    found = follow(lambda: {"n": next(numbers), "nothing": None}, 60, every=0.01,
                   end=lambda: next(numbers) > 6)  # fmt: skip
    assert found.series["n"] == [0, 2, 4, 6]
    assert all(math.isnan(value) for value in found.series["nothing"])
    assert 1 <= len(follow(lambda: {"n": 1}, 0.05, every=0.02).seconds) <= 4
    with pytest.raises(InvalidParameter, match="cannot follow for 0 s"):
        follow(lambda: {}, 0)


# ---- the kernel's ----------------------------------------------------------------


@pytest.mark.root
def test_a_meter_shows_memory_and_its_limit(world: World) -> None:
    meter = Meter(world.group("g"))
    assert meter.memory()["limit"] is None
    meter.group.set(Limits(memory_max=32 * MIB))
    child = world.child("a")
    meter.group.add(child.pid)
    child.run("data = bytearray(16 << 20)")
    assert meter.memory()["limit"] == 32
    assert 15 < (meter.memory()["used"] or 0) < 24


@pytest.mark.root
def test_a_memory_limit_is_moved_when_the_group_holds_less(world: World) -> None:
    meter = Meter(world.group("g", Limits(memory_max=48 * MIB, memory_swap_max=0)))
    with Work(world, "w", "breathe", group=meter.group).start() as work:
        assert until(lambda: meter.memory()["used"] > 24)
        meter.set_memory(20)
        assert meter.memory()["limit"] == 20
        history = follow(meter.memory, 2)
        assert max(history.series["used"]) <= 20
        assert work.running
    child = world.child("a")
    meter.set_memory(48)
    meter.group.add(child.pid)
    child.run("data = bytearray(30 << 20)")
    with pytest.raises(Unavailable, match="the group held more than 16 MiB for 0.1 s"):
        meter.set_memory(16, timeout=0.1)


@pytest.mark.root
def test_a_ceiling_shows_in_cpu_time_and_in_cut_periods(world: World) -> None:
    group = world.group("g", Limits(cpu_max=0.3))
    with Work(world, "w", "burn", group=group).start(), favoured(world):
        history = follow(Meter(group).cpu, 1.5)
        assert history.average("used") < 45
        assert history.average("stopped") > 50
        Meter(group).set_cpu(20)
        assert group.limits().cpu_max == 0.2


@pytest.mark.root
def test_two_groups_are_measured_over_the_same_time(world: World) -> None:
    groups = [world.group(n, Limits(cpus="0", cpu_weight=w)) for n, w in (("a", 300), ("b", 100))]
    a, b = (Work(world, n, "burn", group=g) for n, g in zip("ab", groups, strict=True))
    with a.start(), b.start():
        spent = measure(world, *groups)
    assert 2 < spent[0].cpus / spent[1].cpus < 4
    assert spent[0].throttled == 0


@pytest.mark.root
def test_the_machine_is_favoured_for_as_long_as_it_is_measured(world: World) -> None:
    top = cgroups.open(world.cgroup.name.rpartition("/")[0])
    before = top.limits().cpu_weight
    with favoured(world):
        assert top.limits().cpu_weight == 10_000
    assert top.limits().cpu_weight == before


@pytest.mark.root
def test_pressure_is_what_was_lost_meanwhile(world: World) -> None:
    group = world.group("g", Limits(cpus="0"))
    a, b = (Work(world, name, "burn", group=group) for name in "ab")
    with a.start(), b.start():
        lost = pressure("cpu", 0.5)
    assert 100_000 < lost.some_us < 5_000_000
