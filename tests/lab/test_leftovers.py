import os
from collections.abc import Callable

import pytest

from labkit import cgroups
from labkit.lab.ledger import Ledger
from labkit.lab.leftovers import leftovers
from labkit.paths import Instance

OWNER = """
from labkit.lab.ledger import Ledger
from labkit.paths import Instance
instance = Instance()
ledger = Ledger(instance, "nb02")
"""


def test_clean_instance_has_none(seat: Instance) -> None:
    assert leftovers(seat) == []


def test_only_what_a_dead_owner_really_left_is_shown(
    seat: Instance, python: Callable[[str], str]
) -> None:
    python(
        OWNER + "import os; os.makedirs(ledger.record('path', f'{instance.root}/a'))\n"
        "ledger.record('path', f'{instance.root}/never-made')"
    )
    assert [str(found) for found in leftovers(seat)] == [f"path {seat.root}/a of nb02"]


def test_what_a_live_owner_has_is_not_left_over(seat: Instance) -> None:
    os.makedirs(Ledger(seat, "nb02").record("path", f"{seat.root}/a"))
    assert leftovers(seat) == []


@pytest.mark.root
def test_cgroup_in_no_ledger_is_shown_and_one_with_another_prefix_is_not(
    seat: Instance, unique: str
) -> None:
    with cgroups.create(seat.name("planted")), cgroups.create(f"decoy-{unique}"):
        assert [str(found) for found in leftovers(seat)] == [
            f"cgroup {seat.name('planted')}, in no ledger"
        ]
        Ledger(seat, "nb02").record("cgroup", seat.name("planted"))
        assert leftovers(seat) == []
    assert leftovers(seat) == []
