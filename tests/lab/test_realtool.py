import shutil
from collections.abc import Iterator

import pytest

from labkit.cgroups import Limits
from labkit.errors import NotFound, Unavailable
from labkit.lab.realtool import limits_by_runc, resources
from labkit.lab.world import World
from labkit.paths import Instance

MIB = 1 << 20


@pytest.fixture
def world(seat: Instance) -> Iterator[World]:
    with World("t", memory_mib=128, pids=64) as world:
        yield world


def test_limits_in_the_words_of_config_json() -> None:
    wish = Limits(memory_max=64 * MIB, memory_swap_max=16 * MIB, cpu_max=0.5, pids_max=9)
    assert resources(wish) == {
        "memory": {"limit": 64 * MIB, "swap": 80 * MIB},
        "cpu": {"quota": 50_000, "period": 100_000},
        "pids": {"limit": 9},
    }
    assert resources(Limits(pids_max=float("inf"))) == {"pids": {"limit": -1}}
    assert resources(Limits(memory_max=MIB)) == {"memory": {"limit": MIB}}


@pytest.mark.root
@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
def test_runc_leaves_the_limits_it_was_given_in_the_kernel(world: World) -> None:
    wish = Limits(memory_max=48 * MIB, memory_swap_max=0, cpu_max=0.3, pids_max=12)
    found = limits_by_runc(world, wish)
    assert {name: getattr(found, name) for name, _ in wish.items()} == dict(wish.items())
    assert "byrunc" not in [group.name.rpartition("/")[2] for group in world.cgroup.children()]
    with pytest.raises(Unavailable, match="runc create ended with 1"):
        world.child("runc").run("runc('create', '--bundle', '/nowhere', 'x')")
    with pytest.raises(NotFound):
        from labkit import cgroups

        cgroups.open(f"{world.cgroup.name}/byrunc")
