import os
import signal
from collections.abc import Iterator

import pytest

from labkit.cgroups import Limits
from labkit.errors import InvalidParameter, NotFound
from labkit.lab.load_main import PROGRAMS
from labkit.lab.workloads import MIB, Work, group_of, until, write_times
from labkit.lab.world import World
from labkit.paths import Instance

pytestmark = pytest.mark.root


@pytest.fixture
def world(seat: Instance) -> Iterator[World]:
    with World("t", memory_mib=128, pids=64) as world:
        yield world


def test_a_starter_waits_and_can_be_moved_before_it_starts_anything(world: World) -> None:
    work = Work(world, "w", "sleep")
    assert (work.state, work.running, work.killed) == ("waiting", False, None)
    group = world.group("g", Limits(pids_max=4))
    group.add(work.pid)
    work.start()
    assert work.running and work.state == "running"
    assert set(group.pids()) == {work.pid, work.program_pid}
    assert group_of(work.program_pid, "pids").name == group.name


def test_an_eater_that_wants_more_than_its_group_has_is_killed(world: World) -> None:
    group = world.group("g", Limits(memory_max=24 * MIB, memory_swap_max=0))
    eater = Work(world, "eater", "eat", 64, 100, group=group).start().wait()
    assert (eater.killed, eater.state) == ("SIGKILL", "killed by SIGKILL")
    assert group.statistics().oom_kills == 1
    assert world.victim.ticking()


def test_a_leaker_that_gets_what_it_wants_ends_by_itself(world: World) -> None:
    work = Work(world, "w", "leak", 8, 50).start().wait()
    assert (work.state, work.killed) == ("ended", None)


def test_it_can_be_started_again_when_it_has_ended(world: World) -> None:
    work = Work(world, "w", "leak", 1, 10)
    first = work.start().wait().program_pid
    assert work.start().wait().program_pid != first
    assert work.state == "ended"


def test_it_can_be_started_again_after_the_end_of_its_with_block(world: World) -> None:
    group = world.group("g")
    work = Work(world, "w", "sleep", group=group)
    for _ in range(2):
        with work.start():
            assert work.running and group.pids() == sorted([work.pid, work.program_pid])
        assert work.state == "stopped"


def test_a_program_ends_after_its_seconds(world: World) -> None:
    work = Work(world, "w", "burn", seconds=1).start().wait(10)
    assert work.killed == signal.SIGALRM.name


def test_a_second_work_of_the_same_name_ends_the_first(world: World) -> None:
    first = Work(world, "w", "sleep").start()
    second = Work(world, "w", "sleep")
    assert until(lambda: not first.running)
    assert second.state == "waiting" and second.pid != first.pid


def test_the_end_of_a_with_block_ends_all_that_it_started(world: World) -> None:
    group = world.group("g")
    with Work(world, "w", "swarm", 4, 4, group=group).start():
        assert until(lambda: len(group.pids()) == 6)
    assert until(lambda: not group.pids())


def test_a_bomb_is_refused_at_the_limit_and_has_an_end_without_one(world: World) -> None:
    few = world.group("few", Limits(pids_max=8))
    with Work(world, "bomb", "bomb", 20, group=few).start():
        assert until(lambda: few.statistics().pids_refused)
        assert few.statistics().pids_current == 8
    free = world.group("free")
    with Work(world, "bomb", "bomb", 20, group=free).start():
        assert until(lambda: len(free.pids()) == 22)
        assert not until(lambda: len(free.pids()) > 22, seconds=0.5)


def test_a_relay_has_other_members_all_the_time(world: World) -> None:
    group = world.group("g")
    with Work(world, "w", "relay", 3, 60, group=group).start():
        assert until(lambda: len(group.pids()) >= 5)
        first = set(group.pids())
        assert until(lambda: len(first & set(group.pids())) == 2)  # the starter, the program
        group.kill()
        assert not group.populated


def test_a_breather_stays_below_its_limit_when_that_moves(world: World) -> None:
    group = world.group("g", Limits(memory_max=40 * MIB, memory_swap_max=0))
    with Work(world, "w", "breathe", group=group).start() as work:
        assert until(lambda: group.statistics().memory_current > 24 * MIB)
        assert until(lambda: group.statistics().memory_current < 12 * MIB)
        assert work.running and group.statistics().oom_kills == 0


def test_a_disk_limit_slows_a_direct_write(world: World, seat: Instance) -> None:
    direct, buffered = write_times(world.child("w"), 2)
    assert direct > 0 and buffered > 0
    assert os.stat(f"{seat.root}/worlds/t/written").st_size == 2 * MIB


def test_wrong_names_are_refused(world: World) -> None:
    with pytest.raises(InvalidParameter, match="no program 'dig', only bomb, "):
        Work(world, "w", "dig")
    with pytest.raises(NotFound, match="is in no group"):
        group_of(os.getpid(), "pids")


def test_all_programs_are_named_in_alphabetical_order() -> None:
    assert list(PROGRAMS) == sorted(PROGRAMS)


def test_a_group_of_the_same_name_takes_the_place_of_the_first(world: World) -> None:
    first = world.group("g", Limits(pids_max=5))
    work = Work(world, "w", "sleep", group=first).start()
    second = world.group("g")
    assert second.limits().pids_max == float("inf") and not second.pids()
    assert until(lambda: not work.running)


def test_the_starter_survives_and_can_do_it_again_in_the_new_group(world: World) -> None:
    first = world.group("g", Limits(pids_max=5))
    work = Work(world, "w", "sleep", group=first).start()
    starter = work.pid
    second = world.group("g")
    second.add(work.pid)
    assert work.start().running and work.pid == starter
    assert set(second.pids()) == {starter, work.program_pid}


def test_a_work_whose_starter_is_gone_gets_a_new_one(world: World) -> None:
    group = world.group("g")
    work = Work(world, "w", "sleep", group=group)
    work.stop()
    assert work.state == "stopped"
    assert work.start().running
    assert set(group.pids()) == {work.pid, work.program_pid}
