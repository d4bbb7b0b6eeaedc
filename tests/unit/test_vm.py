"""The host's side of the test machine: what is sent, what comes back, and what counts as passed."""

import io
import os
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest

from labkit.errors import Unsupported
from tests.vm import __main__ as command
from tests.vm import image, machine
from tests.vm.machine import Outcome


def results_disk(**files: str) -> BinaryIO:
    disk = io.BytesIO()
    with tarfile.open(fileobj=disk, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"results/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return io.BytesIO(disk.getvalue().ljust(1 << 20, b"\0"))


def test_the_script_leaves_the_status_of_each_step() -> None:
    script = command.script({"one": ["-c", "pass"], "two words": ["-c", "print('x y')"]})
    assert f"cd {image.REPOSITORY}\n" in script
    assert f'{{ {sys.executable} -c pass; echo "$? one" >>/results/status; }} 2>&1 | cat' in script
    assert "'print('\"'\"'x y'\"'\"')'" in script
    assert '"$? two words"' in script


def test_every_step_has_its_files_in_this_checkout() -> None:
    for step in command.STEPS:
        assert command.planned(step), step.name


def test_a_step_without_files_is_left_out() -> None:
    assert command.planned(command.Step("none", ("nowhere/*.py",), ("-c", "pass"))) == []


def test_statuses_and_files_come_back() -> None:
    disk = results_disk(status="0 one\n1 two words\n", **{"one.xml": "<x/>"})
    assert machine.read_results(disk) == ({"one": 0, "two words": 1}, {"one.xml": b"<x/>"})


def test_an_empty_disk_means_that_nothing_came_back() -> None:
    assert machine.read_results(io.BytesIO(bytes(1 << 20))) == ({}, {})


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (Outcome(1.0, {"one": 0, "two": 0}), 0, "vm: two: passed"),
        (Outcome(1.0, {"one": 0, "two": 1}), 1, "vm: two: failed, exit status 1"),
        (Outcome(1.0, {"one": 0}), 1, "vm: two: nothing came back"),
        (Outcome(1.0, {}, {}, timed_out=True), 1, "vm: one: the time was over"),
    ],
)
def test_only_steps_that_are_known_to_have_passed_pass(
    outcome: Outcome, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.report({"one": [], "two": []}, outcome, None) == status
    assert text in capsys.readouterr().out


def test_the_files_that_came_back_are_kept(tmp_path: Path) -> None:
    outcome = Outcome(1.0, {"one": 0}, {"one.xml": b"<x/>", "../evil": b"y"})
    command.report({"one": []}, outcome, tmp_path / "results")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "evil",
        "one.xml",
    ]
    assert not (tmp_path / "evil").exists()


def test_a_machine_that_does_not_end_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.boot(["sh", "-c", "echo hello; exec sleep 1000"], 0.5)
    assert capsys.readouterr().out == "vm | hello\n"
    assert not machine.boot(["true"], 10)


def test_the_job_holds_the_files_as_they_are_now() -> None:
    with machine.memory_file("job") as job:
        machine.write_job(job, "echo hello\n", image.REPOSITORY)
        assert os.fstat(job.fileno()).st_size % 4096 == 0
        job.seek(0)
        with tarfile.open(fileobj=job) as archive:
            names = set(archive.getnames())
            script = archive.extractfile("job.sh")
            assert script and script.read() == b"echo hello\n"
    here = str(image.REPOSITORY).lstrip("/")
    assert f"{here}/tests/unit/test_vm.py" in names
    assert not any("/.venv/" in name or "/.git/" in name for name in names)


def test_the_key_depends_on_the_kernel(tmp_path: Path) -> None:
    one, other = image.key("linux-image-1"), image.key("linux-image-2")
    assert one != other and one == image.key("linux-image-1") and len(one) == 16


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(*arguments: object) -> None:
        raise Unsupported("no such package")

    monkeypatch.setattr(image, "unpack", unpack)
    monkeypatch.setattr(image.guestimage, "kernel_package", lambda: "linux-image-1")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    (tmp_path / "vm-0123.tmp" / "tree").mkdir(parents=True)  # of a build that was killed
    with pytest.raises(Unsupported, match="no such package"):
        image.ready(lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["vm.lock"]


def test_images_that_nobody_used_for_long_are_forgotten(tmp_path: Path) -> None:
    for name in ("vm-old", "vm-new"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / "vm-old", (0, 0))
    image.forget(tmp_path, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["vm-new"]


def test_arguments_that_are_not_ours_go_to_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, list[str]]] = []
    monkeypatch.setattr(command.os, "geteuid", lambda: 0)
    monkeypatch.setattr(command, "run", lambda steps, timeout: seen.append(steps) or Outcome(1.0))
    assert command.main(["--timeout", "5", "-k", "freeze", "tests/kernel"]) == 1
    assert list(seen[0]) == ["pytest"]
    assert seen[0]["pytest"][-3:] == ["-k", "freeze", "tests/kernel"]


def test_without_root_the_fix_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.os, "geteuid", lambda: 1000)
    assert command.main([]) == 1
    assert "run sudo make test-vm" in capsys.readouterr().err
