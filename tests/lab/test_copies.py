"""Learners' copies: made once, never overwritten, restored without loss, owned by the learner."""

import os
import pwd
from pathlib import Path

import pytest

from labkit.errors import InvalidParameter, NotFound
from labkit.lab import settings
from labkit.lab.copies import copy_missing, hand_over, originals, restore


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "kit"
    folder.mkdir()
    for name in ("00-start-here.ipynb", "03-cgroups.ipynb", "conftest.py"):
        (folder / name).write_text(f"original {name}")
    return originals(folder)


def test_only_notebooks_are_copied_in_order(sources: list[Path], tmp_path: Path) -> None:
    made = copy_missing(sources, tmp_path / "work")
    assert [path.name for path in made] == ["00-start-here.ipynb", "03-cgroups.ipynb"]
    assert made[0].read_text() == "original 00-start-here.ipynb"


def test_what_a_learner_wrote_is_never_overwritten(sources: list[Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    copy_missing(sources, work)
    (work / "03-cgroups.ipynb").write_text("mine")
    sources[1].write_text("a newer original")
    assert copy_missing(sources, work) == []
    assert (work / "03-cgroups.ipynb").read_text() == "mine"


def test_a_link_that_leads_nowhere_is_left_alone(sources: list[Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "00-start-here.ipynb").symlink_to("/nowhere/else")
    copy_missing(sources, work)
    assert os.readlink(work / "00-start-here.ipynb") == "/nowhere/else"


def test_restore_gives_the_original_and_keeps_each_version(
    sources: list[Path], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    for text in ("first", "second"):
        copy_missing(sources, work)
        (work / "03-cgroups.ipynb").write_text(text)
        restore("03", sources, work)
    assert (work / "03-cgroups.ipynb").read_text() == "original 03-cgroups.ipynb"
    assert (work / "03-cgroups.mine-1.ipynb").read_text() == "first"
    assert (work / "03-cgroups.mine-2.ipynb").read_text() == "second"


@pytest.mark.parametrize("number", ["3", "99", "", "../00", "0"])
def test_a_notebook_that_is_not_there_is_refused_with_the_list(
    number: str, sources: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(InvalidParameter, match="there are 00 03") as refused:
        restore(number, sources, tmp_path / "work")
    assert repr(number) in str(refused.value)
    assert not (tmp_path / "work").exists()


def test_a_kit_without_notebooks_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=str(tmp_path)):
        originals(tmp_path)


def test_under_sudo_the_folder_is_in_the_home_of_who_typed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LABKIT_WORK", raising=False)
    monkeypatch.setenv("SUDO_USER", "daemon")
    assert settings.work() == Path(pwd.getpwnam("daemon").pw_dir) / "labkit-work"


@pytest.mark.root
def test_what_root_made_is_handed_over_and_nothing_behind_a_link(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    copy_missing(sources, work)
    (tmp_path / "outside").write_text("root's")
    (work / "link").symlink_to(tmp_path / "outside")
    monkeypatch.setenv("SUDO_USER", "daemon")
    hand_over(work)
    learner = pwd.getpwnam("daemon").pw_uid
    assert {path.lstat().st_uid for path in (work, *work.iterdir())} == {learner}
    assert (tmp_path / "outside").stat().st_uid == 0
