"""Starting JupyterLab: the port, the token, the address; tests/browser opens it for real."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.errors import Conflict, InvalidParameter
from labkit.lab.jupyter import address, check_port, read_token


def test_a_port_in_use_is_refused_with_one_that_is_free() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            Conflict, match=rf"^port {port} is in use; run: sudo make lab PORT=\d+$"
        ):
            check_port("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(InvalidParameter, match=f"port {port} is not between 1 and 65535"):
        check_port("127.0.0.1", port)


def test_a_token_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "labkit" / "token"
    token = read_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 32
    assert read_token(path) == token


def test_an_empty_token_would_be_an_open_root_shell(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(InvalidParameter, match="has 0 characters, 16 are needed"):
        read_token(tmp_path / "token")


def test_the_address_is_the_one_that_opens_the_first_notebook() -> None:
    assert address(8899, "secret") == "http://127.0.0.1:8899/?token=secret"


def test_the_program_ends_with_one_sentence_and_makes_nothing(tmp_path: Path) -> None:
    env = dict(os.environ, LABKIT_WORK=str(tmp_path / "work"))
    argv = [sys.executable, "-m", "labkit.lab.jupyter", "--port", "70000"]
    answer = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stderr == "labkit: port 70000 is not between 1 and 65535\n"
    assert not (tmp_path / "work").exists()


def test_an_option_that_nobody_knows_is_refused() -> None:
    argv = [sys.executable, "-m", "labkit.lab.jupyter", "--prot", "8888"]
    answer = subprocess.run(argv, capture_output=True, text=True)
    assert answer.returncode == 2
    assert "unrecognized arguments: --prot" in answer.stderr
