import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.lab import Lab, progress
from labkit.lab.progress import Progress
from labkit.paths import Instance

Out = pytest.CaptureFixture[str]
Python = Callable[[str], str]


def test_progress_survives_a_restart_of_the_kernel(seat: Instance, python: Python) -> None:
    python("from labkit.lab import Lab; Lab('02').progress.mark('02.1', {'passed': True})")
    code = "from labkit.lab import Lab; print(Lab('02').progress.exercise('02.1')['passed'])"
    assert python(code) == "True\n"


def test_seed_is_drawn_once_for_a_learner(
    seat: Instance, python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABKIT_SEED")
    code = "from labkit.lab import Lab; print(Lab('02').seed)"
    assert python(code) == python(code)
    assert python(code).strip().isdigit()


def test_labkit_seed_goes_before_the_stored_one(
    seat: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Progress().seed == 7
    monkeypatch.setenv("LABKIT_SEED", "8")
    assert Progress().seed == 8


def test_seed_that_is_no_number_is_named(seat: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_SEED", "seven")
    with pytest.raises(ValueError, match="LABKIT_SEED must be a whole number, not 'seven'"):
        _ = Progress().seed


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "exercises": {"x": 1}}', "\udcff"]
)
def test_broken_file_is_set_aside_with_a_message(seat: Instance, capsys: Out, text: str) -> None:
    one = Progress()
    one.folder.mkdir(parents=True)
    one.path.write_bytes(text.encode(errors="surrogateescape"))
    assert one.exercise("02.1")["attempts"] == 0
    assert "progress.broken.json, and progress begins anew" in capsys.readouterr().out
    one.mark("02.1", {"passed": True})
    assert Progress().exercise("02.1")["passed"]
    aside = one.path.with_name("progress.broken.json")
    assert aside.read_bytes() == text.encode(errors="surrogateescape")


def test_second_broken_file_does_not_overwrite_the_first(seat: Instance, capsys: Out) -> None:
    one = Progress()
    one.folder.mkdir(parents=True)
    for text in ("first", "second"):
        one.path.write_text(text)
        one.read()
    names = sorted(path.name for path in one.folder.iterdir())
    assert names == ["progress.broken-2.json", "progress.broken.json"]


def test_newer_file_is_left_alone(seat: Instance, capsys: Out) -> None:
    one = Progress()
    one.folder.mkdir(parents=True)
    text = json.dumps({"schema": 99, "exercises": {}, "predictions": {}})
    one.path.write_text(text)
    one.mark("02.1", {"passed": True})
    assert "was written by a newer labkit" in capsys.readouterr().out
    assert one.path.read_text() == text
    assert one.exercise("02.1")["passed"] and not one.stored


def test_folder_that_cannot_be_made_means_memory_only(
    tmp_path: Path, seat: Instance, capsys: Out
) -> None:
    (tmp_path / "work").write_text("a file stands where the folder should be")
    one = Progress()
    one.mark("02.1", {"passed": True})
    one.mark("02.2", {"passed": True})
    assert one.exercise("02.1")["passed"] and not one.stored
    assert capsys.readouterr().out.count("progress is kept only as long as this kernel runs") == 1


def test_full_disk_means_memory_only(
    seat: Instance, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, value: object) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(progress.store, "write_json", full)
    one = Progress()
    one.mark("02.1", {"hints": 2})
    assert one.exercise("02.1")["hints"] == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().out


def test_exception_in_a_change_writes_nothing(seat: Instance) -> None:
    one = Progress()
    with pytest.raises(RuntimeError), one.change() as state:
        state["exercises"]["02.1"] = {}
        raise RuntimeError
    assert not one.path.exists()


def test_two_kernels_lose_no_marks(seat: Instance, python: Python) -> None:
    first = Progress()
    first.mark("02.1", {"passed": True})
    python("from labkit.lab.progress import Progress; Progress().mark('02.2', {'passed': True})")
    first.mark("02.3", {"passed": True})
    assert sorted(Progress().read()["exercises"]) == ["02.1", "02.2", "02.3"]


def test_no_temporary_file_is_left(seat: Instance) -> None:
    one = Progress()
    one.mark("02.1", {"passed": True})
    assert os.listdir(one.folder) == ["progress.json"]


def test_card_tells_what_was_passed_and_predicted(seat: Instance) -> None:
    lab = Lab("02")
    lab.progress.mark("02.1", {"passed": True})
    lab.predict("02.p1", "?", ["yes", "no"], "a")
    lab.reveal("02.p1", "yes")
    assert lab.progress.card().text == (
        "progress\n  exercises passed   02.1\n  predictions right  1 of 1"
    )


def test_map_of_docker_run_counts_finished_notebooks(seat: Instance, count: object) -> None:
    one = Progress()
    assert "0 of 1 passed" in one.map().facts["--hostname --pid --ipc"]  # type: ignore[operator]
    one.mark("02.1", {"passed": True})
    facts = one.map().facts
    assert str(facts["--hostname --pid --ipc"]).startswith("owned")
    assert str(facts["docker build"]).startswith("later")
    assert facts["in all"] == "1 of 13 parts owned"


def test_command_prints_what_was_done(seat: Instance, count: object, capsys: Out) -> None:
    Progress().mark("02.1", {"passed": True})
    assert progress.main([]) == 0
    out = capsys.readouterr().out
    assert "exercises passed   02.1" in out and "1 of 13 parts owned" in out
