import os
import subprocess
import time
from pathlib import Path

import pytest

from labkit.errors import Unsupported
from labkit.lab import base
from labkit.paths import Instance


@pytest.mark.root
def test_base_is_a_root_whose_programs_run_without_the_host(seat: Instance) -> None:
    root = base.ensure(seat)
    command = "cat /etc/os-release | sort | head -1; ls /proc; stat -c %a /tmp"
    done = subprocess.run(["chroot", root, "sh", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("ID=labkit\n1777\n", "")


def test_base_has_users_a_name_and_the_empty_directories(seat: Instance) -> None:
    root = Path(base.ensure(seat))
    assert 'NAME="labkit busybox"' in (root / "etc/os-release").read_text()
    assert "root:x:0:0:" in (root / "etc/passwd").read_text()
    assert (root / "etc/hostname").read_text() == "base\n"
    assert all(os.listdir(root / name) == [] for name in ("proc", "sys", "dev", "tmp"))


def test_every_link_leads_to_busybox_inside_the_root(seat: Instance) -> None:
    root = Path(base.ensure(seat))
    links = [path for path in root.rglob("*") if path.is_symlink()]
    assert len(links) > 100
    assert {path.resolve() for path in links} == {root / "bin/busybox"}


def test_a_second_call_changes_nothing(seat: Instance) -> None:
    first = os.stat(base.ensure(seat))
    assert os.stat(base.ensure(seat)) == first


def test_it_takes_less_than_a_second(seat: Instance) -> None:
    start = time.process_time()
    base.ensure(seat)
    assert time.process_time() - start < 1


def test_an_older_base_is_replaced_and_nothing_is_left_beside(seat: Instance) -> None:
    root = Path(base.ensure(seat))
    (root / "etc/labkit-base").write_text("0 older\n")
    (root / "etc/passwd").write_text("changed")
    base.ensure(seat)
    assert "root:x:0:0:" in (root / "etc/passwd").read_text()
    assert os.listdir(seat.root) == ["base"]


def test_leftovers_of_a_killed_build_do_not_disturb(seat: Instance) -> None:
    os.makedirs(f"{seat.base}.new/etc")
    base.ensure(seat)
    assert os.listdir(seat.root) == ["base"]


def test_no_busybox_names_the_package(seat: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.shutil, "which", lambda *_, **__: None)
    with pytest.raises(Unsupported, match="install the package busybox-static"):
        base.ensure(seat)
    assert not os.path.exists(seat.root)


def test_a_busybox_with_libraries_is_refused(
    seat: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needy = tmp_path / "busybox"
    interpreter = (3).to_bytes(4, "little") + bytes(52)  # one PT_INTERP, elf(5)
    head = b"\x7fELF\x02".ljust(32, b"\0") + (64).to_bytes(8, "little") + bytes(14)
    needy.write_bytes(head + (56).to_bytes(2, "little") + b"\1\0" + bytes(6) + interpreter)
    monkeypatch.setattr(base.shutil, "which", lambda *_, **__: str(needy))
    with pytest.raises(Unsupported, match=f"{needy} needs shared libraries"):
        base.ensure(seat)


def test_the_module_is_a_program(seat: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    assert base.main() == 0
    assert capsys.readouterr().out == f"base file system: {seat.base}\n"
