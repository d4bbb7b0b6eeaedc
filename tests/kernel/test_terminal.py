"""Terminals: two ends, a size, a session that they control, and the way through a socket."""

import os
import socket
import termios

import pytest

from labkit import terminal
from labkit.errors import InvalidParameter, Unavailable

pytestmark = pytest.mark.root


@pytest.fixture
def pty():
    with terminal.open_pty() as pair:
        yield pair


def test_what_is_typed_at_one_end_is_read_at_the_other(pty) -> None:
    os.write(pty.master, b"hello\n")
    assert os.read(pty.slave, 100) == b"hello\n"
    assert os.read(pty.master, 100) == b"hello\r\n", "the echo, as a terminal shows it"
    assert os.isatty(pty.slave) and os.ttyname(pty.slave) == pty.name
    assert not os.get_inheritable(pty.master) and not os.get_inheritable(pty.slave)


def test_both_ends_are_closed_and_one_that_was_given_away_is_not(pty) -> None:
    slave = pty.detach("slave")
    pty.close()
    pty.close()
    assert pty.master == pty.slave == -1
    assert os.read(slave, 1) == b"", "still ours, and hung up: there is no master any more"
    os.close(slave)


def test_the_size_is_the_same_at_both_ends(pty) -> None:
    terminal.resize(pty.master, 24, 80)
    assert terminal.size(pty.slave) == (24, 80)
    for rows, columns in ((-1, 80), (24, 65536)):
        with pytest.raises(InvalidParameter, match=f"terminal size {rows} x {columns}"):
            terminal.resize(pty.master, rows, columns)
    assert terminal.size(pty.master) == (24, 80)


def test_raw_mode_lets_every_key_through_and_ends_also_after_an_error(pty) -> None:
    before = termios.tcgetattr(pty.slave)
    with pytest.raises(ZeroDivisionError), terminal.raw(pty.slave):
        os.write(pty.master, b"\x03")
        assert os.read(pty.slave, 1) == b"\x03", "Ctrl-C is a byte, not a signal"
        raise ZeroDivisionError
    assert termios.tcgetattr(pty.slave) == before


def test_no_terminal_is_an_error_with_its_number(tmp_path) -> None:
    with open(tmp_path / "file", "w") as file:
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            terminal.size(file.fileno())
        with pytest.raises(termios.error), terminal.raw(file.fileno()):
            pass
    with pytest.raises(FileNotFoundError, match="/nowhere/ptmx"):
        terminal.open_pty("/nowhere")


def test_the_controlling_terminal_sends_ctrl_c_and_hang_up(isolated) -> None:
    isolated("""
        def session():
            terminal.take_control(pty.slave)
            terminal.become_stdio(pty.detach("slave"))
            os.close(pty.detach("master"))
            assert os.open("/dev/tty", os.O_RDWR) >= 0 and os.tcgetpgrp(0) == os.getpid()
            signal.signal(signal.SIGINT, lambda *_: os.write(1, b"interrupted"))
            os.write(1, b"ready")
            signal.pause()
            time.sleep(60)
        pty = terminal.open_pty()
        with spawn([], session) as child:
            os.close(pty.detach("slave"))
            def expect(words):
                text = b""
                while words not in text:
                    text += os.read(pty.master, 100)
            expect(b"ready")
            os.write(pty.master, b"\\x03")
            expect(b"interrupted")
            os.close(pty.detach("master"))
            assert child.wait(10) == -signal.SIGHUP, child.wait()
    """)


# ---- the console socket ---------------------------------------------------------------


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "console"))
        listening.listen()
        listening.settimeout(10)
        yield listening


def accept(listener):
    connection, _ = listener.accept()
    return connection


def test_the_master_travels_through_the_console_socket(listener, pty) -> None:
    terminal.send_console(listener.getsockname(), pty.master, pty.name)
    with accept(listener) as connection:
        master, name = terminal.receive_console(connection)
    assert name == pty.name and not os.get_inheritable(master)
    os.write(pty.slave, b"from the container")
    assert os.read(master, 100) == b"from the container"
    os.close(master)


def test_a_console_socket_that_gives_none_or_two_is_an_error(listener, pty) -> None:
    for count in (0, 2):
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(listener.getsockname())
            if count:
                socket.send_fds(sender, [b"x"], [pty.master] * count)
        before = len(os.listdir("/proc/self/fd"))
        with accept(listener) as connection:
            with pytest.raises(Unavailable, match=f"gave {count} descriptors, not one"):
                terminal.receive_console(connection)
        assert len(os.listdir("/proc/self/fd")) == before


def test_nobody_listening_is_named(tmp_path, pty) -> None:
    with pytest.raises(FileNotFoundError, match="console"):
        terminal.send_console(str(tmp_path / "console"), pty.master, pty.name)
