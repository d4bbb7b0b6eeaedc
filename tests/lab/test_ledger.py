import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.errors import Conflict, InvalidParameter
from labkit.lab import ledger
from labkit.lab.ledger import Entry, Ledger
from labkit.linux import procfs
from labkit.paths import Instance

Python = Callable[[str], str]


def test_record_writes_before_anything_is_made(seat: Instance) -> None:
    Ledger(seat, "nb02").record("cgroup", seat.name("nb02/machine"))
    stored = json.loads(Path(ledger.path_of(seat, "nb02")).read_text())
    assert stored["entries"] == [["cgroup", seat.name("nb02/machine")]]
    assert (stored["pid"], stored["started"]) == (os.getpid(), procfs.start_time(os.getpid()))


def test_entries_keep_the_order_of_making_and_stand_once(seat: Instance) -> None:
    one = Ledger(seat, "nb02")
    for suffix in ("b", "a", "b"):
        one.record("netns", seat.name(suffix))
    assert [entry.name for entry in one.entries] == [seat.name("b"), seat.name("a")]


def test_forget_strikes_out_and_a_second_time_is_no_error(seat: Instance) -> None:
    one = Ledger(seat, "nb02")
    one.record("netns", seat.name("a"))
    one.forget("netns", seat.name("a"))
    one.forget("netns", seat.name("a"))
    assert one.entries == ()


def test_process_is_kept_with_its_start_time(seat: Instance) -> None:
    one = Ledger(seat, "nb02")
    name = one.record("process", os.getpid())
    assert name == f"{os.getpid()}:{procfs.start_time(os.getpid())}"
    one.forget("process", os.getpid())
    assert one.entries == ()


def test_recorded_forgets_only_when_the_block_went_well(seat: Instance) -> None:
    one = Ledger(seat, "nb02")
    with one.recorded("netns", seat.name("a")):
        assert one.entries == (Entry("netns", seat.name("a")),)
    assert one.entries == ()
    with pytest.raises(RuntimeError), one.recorded("netns", seat.name("a")):
        raise RuntimeError
    assert one.entries == (Entry("netns", seat.name("a")),)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("cgroup", "system.slice"),
        ("cgroup", "labkit-TAGG"),
        ("cgroup", "labkit-TAG-a/../../system.slice"),
        ("cgroup", "labkit-TAG-a//b"),
        ("netns", "labkit-TAG-a/b"),
        ("netns", "mylabkit-TAG-a"),
        ("link", "eth0"),
        ("link", "lkTA"),
        ("path", "/"),
        ("path", "/etc/passwd"),
        ("path", "ROOT"),
        ("path", "ROOT/../other"),
        ("mount", "/proc"),
        ("data", "/home"),
        ("process", "1"),
        ("process", "web"),
        ("process", "12:x"),
        ("path", "relative/labkit-TAG-x"),
        ("volume", "x"),
    ],
)
def test_names_that_are_not_clearly_ours_are_refused(seat: Instance, kind: str, name: str) -> None:
    given = name.replace("TAG", seat.tag).replace("ROOT", seat.root)
    with pytest.raises(InvalidParameter) as caught:
        Ledger(seat, "nb02").record(kind, given)
    assert repr(given) in str(caught.value) or kind in str(caught.value)


def test_paths_of_the_instance_are_accepted(seat: Instance, tmp_path: Path) -> None:
    one = Ledger(seat, "nb02")
    for path in (f"{seat.root}/a", f"{seat.run}/b/c", f"{tmp_path}/{seat.name('d')}"):
        assert one.record("path", path) == path


def test_links_above_a_path_are_resolved_when_it_is_recorded(
    seat: Instance, tmp_path: Path
) -> None:
    os.makedirs(seat.root)
    (tmp_path / "outside").mkdir()
    os.symlink(tmp_path / "outside", f"{seat.root}/way-out")
    with pytest.raises(InvalidParameter, match="not a name of instance"):
        Ledger(seat, "nb02").record("path", f"{seat.root}/way-out/x")


def test_owner_in_use_by_a_live_process_is_a_conflict(seat: Instance, python: Python) -> None:
    Ledger(seat, "nb02")
    out = python(
        "from labkit.lab.ledger import Ledger; from labkit.paths import Instance\n"
        "Ledger(Instance(), 'nb02')"
    )
    assert f"nb02 is open in another kernel, pid {os.getpid()}" in out


def test_entries_of_a_dead_owner_are_taken_over(seat: Instance, python: Python) -> None:
    python(
        "from labkit.lab.ledger import Ledger; from labkit.paths import Instance\n"
        f"Ledger(Instance(), 'nb02').record('netns', {seat.name('a')!r})"
    )
    assert Ledger(seat, "nb02").entries == (Entry("netns", seat.name("a")),)


def test_same_pid_with_another_start_is_another_process(seat: Instance) -> None:
    pid = os.getpid()
    record = ledger.Record("nb02", pid, procfs.start_time(pid) + 1, ledger.boot_id(), ())
    assert not record.alive
    assert not ledger.Record("nb02", pid, procfs.start_time(pid), "other boot", ()).alive


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 2, "entries": []}', "[1]", "\x00"])
def test_broken_ledger_is_set_aside_and_not_believed(
    seat: Instance, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    os.makedirs(seat.ledger)
    path = ledger.path_of(seat, "nb02")
    Path(path).write_text(text)
    assert Ledger(seat, "nb02").entries == ()
    assert "cannot be understood: it is now nb02.json.broken" in capsys.readouterr().out
    assert Path(f"{path}.broken").read_text() == text


@pytest.mark.parametrize("owner", ["", "../x", "a/b", "nb 02"])
def test_owner_is_a_plain_word(seat: Instance, owner: str) -> None:
    with pytest.raises(InvalidParameter, match="letters, digits and dashes"):
        Ledger(seat, owner)


def test_owners_lists_ledgers_only(seat: Instance) -> None:
    assert ledger.owners(seat) == []
    one = Ledger(seat, "nb02")
    Path(f"{one.path}.broken").touch()
    assert ledger.owners(seat) == ["nb02"]


def test_ledger_of_another_live_process_cannot_be_changed(seat: Instance) -> None:
    one = Ledger(seat, "nb02")
    other = ledger.Record(
        "nb02", os.getppid(), procfs.start_time(os.getppid()), ledger.boot_id(), ()
    )
    ledger.write(one.path, other)
    with pytest.raises(Conflict, match=f"pid {os.getppid()}"):
        one.record("netns", seat.name("a"))
