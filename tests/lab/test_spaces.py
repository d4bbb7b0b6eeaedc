"""labkit.lab.spaces, storm and propagation: what notebook 02 looks at, in a real world."""

import os
from collections.abc import Iterator

import pytest

from labkit.lab import propagation, spaces
from labkit.lab.exercise import NotYet
from labkit.lab.names import Names
from labkit.lab.world import World
from labkit.linux import procfs
from labkit.paths import Instance

pytestmark = pytest.mark.root


@pytest.fixture
def world(seat: Instance) -> Iterator[World]:
    with World("t", memory_mib=96, pids=64) as world:
        yield world


def storm(world: World, init: str, orphans: int = 3) -> int:
    """Process 1 of a new pid namespace below the child "k"."""
    k = world.child("k")
    k.run("from labkit.lab import storm")
    k.run(f"first = storm.first_process({init}, {orphans}, 7)")
    return spaces.youngest(k)


def test_until_says_whether_it_came_true() -> None:
    answers = iter([False, False, True])
    assert spaces.until(lambda: next(answers))
    assert not spaces.until(lambda: False, 0.05)


def test_patiently_asks_again_and_gives_up_with_the_last_words() -> None:
    answers = iter([NotYet("soon"), "here"])

    def look() -> str:
        answer = next(answers)
        if isinstance(answer, NotYet):
            raise answer
        return answer

    def never() -> None:
        raise NotYet("still nothing")

    assert spaces.patiently(look) == "here"
    with pytest.raises(NotYet, match="still nothing"):
        spaces.patiently(never, 0.05)


def test_a_careless_init_collects_a_zombie_for_each_orphan(world: World) -> None:
    first = storm(world, "storm.careless", orphans=4)
    assert spaces.zombies(first) == 4


def test_members_are_those_of_one_pid_namespace(world: World) -> None:
    first = storm(world, "storm.careless")
    inside = spaces.members(first)
    assert first in inside
    assert len(inside) == 2  # process 1 and its program
    assert set(inside) < set(spaces.members(world.pid))
    assert set(inside) <= set(spaces.descendants(world.child("k").pid))


def test_an_old_proc_lists_more_than_the_members(world: World) -> None:
    first = storm(world, "storm.careless")
    assert spaces.listed(first) == spaces.listed(world.pid) > len(spaces.members(first))


def test_a_container_lists_its_members_and_has_two_numbers(world: World) -> None:
    with world.sandbox(["sleep", "60"]) as box:
        assert spaces.listed(box.pid) == len(spaces.members(box.pid)) == 1
        assert spaces.number_at(box.pid, box.pid) == 1
        assert spaces.number_at(world.pid, box.pid) > 1


def test_an_init_that_reaps_leaves_no_zombie_and_its_code_comes_out(world: World) -> None:
    init = "lambda main: [os.waitpid(-1, 0)[1] for _ in range(4)] and 5"
    k = world.child("k")
    k.run("from labkit.lab import storm")
    k.run(f"first = storm.first_process({init}, 3, 7)")
    assert spaces.zombies(spaces.youngest(k)) == 0


def test_youngest_of_nobody_is_nobody(world: World) -> None:
    assert spaces.youngest(world.child("alone")) == 0


def test_above_goes_on_beyond_a_chroot_and_stops_at_a_pivot(world: World) -> None:
    caged, moved = world.child("caged"), world.child("moved")
    caged.run("os.makedirs('/scratch/cage'); os.chroot('/scratch/cage'); os.chdir('/')")
    moved.run("from labkit import rootfs; unshare(CLONE_NEWNS)")
    moved.run("rootfs.prepare('/scratch/cage'); rootfs.pivot('/scratch/cage')")
    cage, top = spaces.place(caged.pid), spaces.place(world.pid)
    assert spaces.above(f"/proc/{caged.pid}/root")[-1] == top
    assert spaces.above(f"/proc/{moved.pid}/root") == [cage]
    assert spaces.is_below(moved.pid, "cwd", cage)
    assert not spaces.is_below(world.pid, "cwd", cage)


def test_open_directories_are_found(world: World) -> None:
    child = world.child("c")
    number = child.eval("os.open('/', os.O_PATH)")
    assert f"fd/{number}" in spaces.directories(child.pid)


def test_set_apart_shares_mounts_with_the_bystander_only(world: World) -> None:
    child = world.child("c")
    bystander = spaces.set_apart(child)
    assert procfs.ns_inode(bystander, "mnt") == child.namespaces()["mnt"]
    assert procfs.ns_inode(bystander, "mnt") != world.namespaces()["mnt"]
    child.run("os.makedirs('/scratch/x'); mount('x', '/scratch/x', 'tmpfs')")
    assert not os.path.ismount(f"/proc/{world.pid}/root/scratch/x")


@pytest.mark.parametrize(
    ("word", "down", "up"),
    [("shared", True, True), ("slave", True, False), ("private", False, False)],
)
def test_a_mount_travels_as_its_word_says(world: World, word: str, down: bool, up: bool) -> None:
    assert list(propagation.travels(world, word).values()) == [down, up]


def test_home_has_the_name_that_is_asked_for(world: World) -> None:
    names = Names(world.namespaces(), "machine")
    assert set(names.namespaces(world).values()) == {"machine"}
    assert names.ns(os.getpid(), "uts") == "uts#1"


def test_children_ended_are_made_anew(world: World) -> None:
    child = world.child("c")
    world.end_children()
    assert not child.alive
    assert world.child("c").pid != child.pid


def test_a_child_of_a_world_that_execs_is_told_at_once(world: World) -> None:
    from labkit.errors import Unavailable

    with pytest.raises(Unavailable, match="became 'sleep'"):
        world.child("c").run("os.execvp('sleep', ['sleep', '60'])", timeout=10)
