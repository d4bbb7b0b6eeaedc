import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit import cgroups
from labkit.errors import Conflict, InvalidParameter
from labkit.lab import ledger
from labkit.lab.ledger import Entry, Ledger
from labkit.lab.reset import Outcome, main, reset, summary
from labkit.linux import procfs
from labkit.linux.rtnetlink import Rtnetlink
from labkit.paths import Instance

Python = Callable[[str], str]

OWNER = """
from labkit.lab.ledger import Ledger
from labkit.paths import Instance
instance = Instance()
ledger = Ledger(instance, "nb02")
"""


@pytest.fixture
def dead(seat: Instance, python: Python) -> Callable[[str], None]:
    """Runs lines as owner nb02 in a process that has ended when the call returns."""

    def call(code: str) -> None:
        out = python(OWNER + textwrap.dedent(code))
        assert not out, out

    return call


def whats(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.entry.kind, outcome.what) for outcome in outcomes]


# ---- without root ------------------------------------------------------------


def test_paths_are_deleted_newest_first_and_the_ledger_goes(
    seat: Instance, dead: Callable[[str], None]
) -> None:
    dead("""
        import os
        for name in ("a", "a/b"):
            os.makedirs(ledger.record("path", f"{instance.root}/{name}"))
            open(f"{instance.root}/{name}/file", "w").close()
            os.symlink("/etc", f"{instance.root}/{name}/link")
        """)
    outcomes = reset(seat)
    assert [o.entry.name for o in outcomes] == [f"{seat.root}/a/b", f"{seat.root}/a"]
    assert not os.path.exists(f"{seat.root}/a")
    assert os.path.exists("/etc/passwd")
    assert ledger.owners(seat) == []


def test_second_reset_finds_nothing(seat: Instance, dead: Callable[[str], None]) -> None:
    dead("ledger.record('path', f'{instance.root}/never-made')")
    assert whats(reset(seat)) == [("path", "was gone")]
    assert reset(seat) == []


def test_reset_without_a_ledger_directory_finds_nothing(seat: Instance) -> None:
    assert reset(seat) == []


def test_decoy_beside_ours_survives(seat: Instance, dead: Callable[[str], None]) -> None:
    dead("import os; os.makedirs(ledger.record('path', f'{instance.root}/a'))")
    for name in ("aa", "a2", "ab/a"):
        os.makedirs(f"{seat.root}/{name}")
    reset(seat)
    assert sorted(os.listdir(seat.root)) == ["a2", "aa", "ab"]


def test_learners_data_is_kept_unless_asked_for(
    seat: Instance, dead: Callable[[str], None]
) -> None:
    dead("import os; os.makedirs(ledger.record('data', f'{instance.root}/volume'))")
    assert reset(seat) == []
    assert os.path.isdir(f"{seat.root}/volume")
    assert whats(reset(seat, data=True)) == [("data", "removed")]
    assert ledger.owners(seat) == []


def test_live_owner_is_refused_kept_or_forced(seat: Instance, tmp_path: Path) -> None:
    lines = OWNER + "import os, time; os.makedirs(ledger.record('path', f'{instance.root}/a'))\n"
    lines += "print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE) as owner:
        assert owner.stdout and owner.stdout.readline() == b"ready\n"
        with pytest.raises(Conflict, match=f"nb02 is in use by pid {owner.pid}"):
            reset(seat, "nb02")
        assert whats(reset(seat)) == [("path", f"kept: in use by pid {owner.pid}")]
        assert main([]) == 1
        assert os.path.isdir(f"{seat.root}/a")
        assert whats(reset(seat, "nb02", force=True)) == [("path", "removed")]
        owner.kill()


def test_caller_may_reset_itself_and_stays_the_owner(seat: Instance) -> None:
    one = Ledger(seat, "nb02")
    os.makedirs(one.record("path", f"{seat.root}/a"))
    assert whats(reset(seat, "nb02")) == [("path", "removed")]
    assert ledger.owners(seat) == ["nb02"] and one.entries == ()


def test_only_takes_one_kind(seat: Instance, dead: Callable[[str], None]) -> None:
    dead("""
        import os
        os.makedirs(ledger.record("path", f"{instance.root}/a"))
        ledger.record("cgroup", instance.name("never-made"))
        """)
    assert whats(reset(seat, only="path")) == [("path", "removed")]
    assert whats(reset(seat)) == [("cgroup", "was gone")]
    with pytest.raises(InvalidParameter, match="no ledger kind 'volume'"):
        reset(seat, only="volume")


def test_one_owner_leaves_the_others(seat: Instance, dead: Callable[[str], None]) -> None:
    dead("""
        import os
        os.makedirs(ledger.record("path", f"{instance.root}/a"))
        other = Ledger(instance, "nb01")
        os.makedirs(other.record("path", f"{instance.root}/b"))
        """)
    reset(seat, "nb02")
    assert os.listdir(seat.root) == ["b"]


def test_entry_that_somebody_wrote_by_hand_is_not_obeyed(seat: Instance, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    os.makedirs(seat.ledger)
    entries = (Entry("path", f"{tmp_path}/precious"), Entry("cgroup", "system.slice"))
    ledger.write(ledger.path_of(seat, "nb02"), ledger.Record("nb02", 2, 1, "", entries))
    assert all(outcome.kept for outcome in reset(seat))
    assert (tmp_path / "precious").is_dir()


def test_process_with_the_right_pid_and_another_start_lives(seat: Instance) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        started = procfs.start_time(process.pid)
        Ledger(seat, "nb02").record("process", f"{process.pid}:{started + 1}")
        assert whats(reset(seat, "nb02")) == [("process", "was gone")]
        assert process.poll() is None
        Ledger(seat, "nb02").record("process", process.pid)
        assert whats(reset(seat, "nb02")) == [("process", "removed")]
        assert not procfs.alive(process.pid, started)


def test_sigkill_between_record_and_making_leaves_nothing(seat: Instance, python: Python) -> None:
    python(
        OWNER + "import os; ledger.record('path', f'{instance.root}/a'); os.kill(os.getpid(), 9)"
    )
    assert whats(reset(seat)) == [("path", "was gone")]


def test_reset_that_is_killed_goes_on_at_the_next_call(
    seat: Instance, dead: Callable[[str], None], python: Python
) -> None:
    dead("""
        import os
        for name in "abc":
            os.makedirs(ledger.record("path", f"{instance.root}/{name}"))
        """)
    python("""
import os
from labkit.lab import reset
from labkit.paths import Instance
delete = reset.REMOVERS["path"]
def once(path):
    delete(path)
    if path.endswith("b"):
        os.kill(os.getpid(), 9)
reset.REMOVERS["path"] = once
reset.reset(Instance())
""")
    assert os.listdir(seat.root) == ["a"]
    assert whats(reset(seat)) == [("path", "was gone"), ("path", "removed")]
    assert os.listdir(seat.root) == []


def test_command_says_what_it_did(
    seat: Instance, dead: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    dead("import os; os.makedirs(ledger.record('path', f'{instance.root}/a'))")
    assert main(["02", "--only", "path"]) == 0
    assert capsys.readouterr().out == f"path {seat.root}/a: removed\n"
    assert main(["2"]) == 0
    assert capsys.readouterr().out == "nothing was left\n"


def test_summary_counts_kinds_and_names_only_what_was_kept() -> None:
    def outcome(kind: str, name: str, what: str = "removed") -> Outcome:
        return Outcome("nb02", Entry(kind, name), what)

    done = [outcome("process", "5:5"), outcome("process", "6:6"), outcome("cgroup", "x")]
    assert summary(done) == "removed 1 cgroup, 2 processes"
    assert summary([outcome("path", "/x", "was gone")]) == "nothing was left"
    kept = outcome("path", "/x", "kept: busy")
    assert summary([*done, kept]) == "removed 1 cgroup, 2 processes; path /x: kept: busy"


# ---- with a real kernel ------------------------------------------------------

root = pytest.mark.root


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@root
def test_cgroup_with_members_goes_and_a_neighbour_stays(
    seat: Instance, sleeper: "subprocess.Popen[bytes]"
) -> None:
    one, neighbour = Ledger(seat, "nb02"), cgroups.create(seat.name("neighbour"))
    with neighbour:
        cgroups.create(one.record("cgroup", seat.name("a")))
        with cgroups.open(seat.name("a")) as group:
            group.child("inner").add(sleeper.pid)
            assert whats(reset(seat, "nb02")) == [("cgroup", "removed")]
        assert sleeper.wait(5) == -signal.SIGKILL
        assert cgroups.open(seat.name("neighbour"))
        with pytest.raises(Exception, match="no cgroup"):
            cgroups.open(seat.name("a"))


IN_NAMESPACE = """
import os, sys
from labkit.linux import syscalls
from labkit.linux.constants import CloneFlag, MountFlag
from labkit.lab import ledger as ledgers
from labkit.lab.reset import reset
syscalls.unshare(CloneFlag.NEWNS | CloneFlag.NEWNET)
syscalls.mount("none", "/", "", MountFlag.REC | MountFlag.PRIVATE)
def mounted(point):
    os.makedirs(point, exist_ok=True)
    syscalls.mount("tmpfs", point, "tmpfs")
    return point
"""


@pytest.fixture
def inside(seat: Instance, python: Python) -> Callable[[str], list[str]]:
    """Runs lines as owner nb02 in mount and network namespaces of its own; lines of output."""

    def call(code: str) -> list[str]:
        out = python(OWNER + IN_NAMESPACE + textwrap.dedent(code))
        assert "Traceback" not in out, out
        return out.splitlines()

    return call


@root
def test_mounts_are_undone_before_paths_are_deleted(
    seat: Instance, inside: Callable[[str], list[str]]
) -> None:
    assert inside("""
        ledger.record("mount", f"{instance.root}/a/m")
        ledger.record("path", f"{instance.root}/a")
        mounted(f"{instance.root}/a/m")
        mounted(f"{instance.root}/a/m")
        print(*(f"{o.entry.kind} {o.what}" for o in reset(instance, "nb02")), sep="\\n")
        print(os.path.exists(f"{instance.root}/a"))
        """) == ["mount removed", "path removed", "False"]


@root
def test_busy_mount_is_detached(seat: Instance, inside: Callable[[str], list[str]]) -> None:
    assert inside("""
        point = mounted(ledger.record("mount", f"{instance.root}/m"))
        held = open(f"{point}/file", "w")
        print(reset(instance, "nb02")[0].what, os.path.ismount(point))
        """) == ["removed False"]


@root
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_deleting_never_crosses_a_mount(
    seat: Instance, tmp_path: Path, inside: Callable[[str], list[str]], kind: str
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    lines = inside(f"""
        point = f"{{instance.root}}/a/b/m"
        ledger.record("path", f"{{instance.root}}/a")
        os.makedirs(point)
        open(f"{{instance.root}}/a/first", "w").close()
        if {kind!r} == "bind":
            syscalls.mount({str(tmp_path / "precious")!r}, point, "", MountFlag.BIND)
        else:
            syscalls.mount("tmpfs", point, "tmpfs")
            open(f"{{point}}/file", "w").close()
        print(reset(instance, "nb02")[0].what)
        print(os.listdir(point), sorted(os.listdir(f"{{instance.root}}/a")))
        """)
    assert lines == [
        f"kept: something is still mounted at {seat.root}/a/b/m",
        "['file'] ['b', 'first']",
    ]
    assert (tmp_path / "precious" / "file").exists()


@root
def test_network_namespace_and_link_go_by_exact_name(
    seat: Instance, inside: Callable[[str], list[str]]
) -> None:
    assert inside("""
        from labkit.linux.rtnetlink import Rtnetlink
        from pyroute2 import netns
        os.makedirs("/run/netns", exist_ok=True)
        syscalls.mount("tmpfs", "/run/netns", "tmpfs")
        for name in (instance.name("a"), instance.name("ab")):
            netns.create(name)
        ledger.record("netns", instance.name("a"))
        with Rtnetlink() as route:
            for name in (instance.link("x"), instance.link("xy")):
                route.link_add(name, "bridge")
            ledger.record("link", instance.link("x"))
            print(*(f"{o.entry.kind} {o.what}" for o in reset(instance, "nb02")))
            names = [link.name for link in route.links() if link.name != "lo"]
            print(names == [instance.link("xy")])
            print(os.listdir("/run/netns") == [instance.name("ab")])
        ledger.record("link", instance.link("x"))
        ledger.record("netns", instance.name("a"))
        print(*(f"{o.entry.kind} {o.what}" for o in reset(instance, "nb02")))
        """) == ["link removed netns removed", "True", "True", "netns was gone link was gone"]


@root
def test_owner_killed_in_the_middle_is_cleaned_up_after(seat: Instance) -> None:
    lines = (
        OWNER
        + """
import subprocess, time
from labkit import cgroups
group = cgroups.create(ledger.record("cgroup", instance.name("nb02")))
child = subprocess.Popen(["sleep", "60"])
group.add(child.pid)
print(child.pid, flush=True)
time.sleep(60)
"""
    )
    with subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        child = int(owner.stdout.readline())
        owner.kill()
    assert procfs.alive(child)
    assert whats(reset(seat)) == [("cgroup", "removed")]
    deadline = time.monotonic() + 5
    while procfs.alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not procfs.alive(child)
    assert ledger.owners(seat) == []


def test_rtnetlink_is_what_the_link_remover_uses() -> None:
    """A link that is not there must be told apart from one that cannot be removed."""
    with Rtnetlink() as route, pytest.raises(OSError) as caught:
        route.link_del("lkzzzznothere")
    assert caught.value.errno == 19
