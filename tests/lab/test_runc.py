"""runc's container beside ours: it is one process of the host, and nothing of it is left."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit.errors import Unavailable, Unsupported
from labkit.lab.lab import Lab
from labkit.lab.runc import Runc
from labkit.linux import procfs
from labkit.paths import Instance

pytestmark = pytest.mark.root


@pytest.fixture
def lab(seat: Instance) -> Iterator[Lab]:
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    lab = Lab("01")
    yield lab
    lab.close()


def groups(id: str) -> list[Path]:
    points = {m.point for m in procfs.mountinfo() if m.fstype in ("cgroup", "cgroup2")}
    return [path for point in points if (path := Path(point, id)).exists()]


def test_it_runs_in_namespaces_of_its_own_and_goes_without_a_trace(lab: Lab) -> None:
    with Runc(lab, ["sleep", "60"]) as real:
        assert procfs.nspid(real.pid) == [real.pid, 1]
        assert "labkit busybox" in Path(real.root, "etc/os-release").read_text()
        assert groups(real.id)
        assert len(lab.ledger.entries) == 2
    assert not procfs.alive(real.pid) and not groups(real.id)
    assert not lab.ledger.entries and not os.listdir(os.path.join(lab.instance.run, "runc"))


def test_a_second_one_of_that_name_ends_the_first(lab: Lab) -> None:
    first = Runc(lab, ["sleep", "60"])
    with Runc(lab, ["sleep", "60"]) as second:
        assert not procfs.alive(first.pid) and procfs.alive(second.pid)
    second.close()


def test_what_it_cannot_start_is_told_in_its_own_words_and_leaves_nothing(lab: Lab) -> None:
    with pytest.raises(Unavailable, match="runc run failed: .*no-such-program"):
        Runc(lab, ["no-such-program"])
    assert not lab.ledger.entries and not groups(lab.instance.name("nb01-real"))


def test_without_runc_the_fix_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unsupported, match="runc is not installed: run sudo make setup"):
        Runc(lab, ["sleep", "60"])


def test_what_a_killed_kernel_left_is_removed_by_the_next(
    lab: Lab, python: Callable[[str], str]
) -> None:
    lab.close()
    said = python(
        "import os\nfrom labkit.lab.lab import Lab\nfrom labkit.lab.runc import Runc\n"
        "print(Runc(Lab('01'), ['sleep', '60']).pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    pid = int(said.split()[0])
    assert procfs.alive(pid)
    again = Lab("01")
    assert not procfs.alive(pid) and len(again.leftovers) == 2
    with Runc(again, ["sleep", "60"]) as real:
        pass
    assert not groups(real.id)
    again.close()
