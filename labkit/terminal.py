"""Pseudoterminals: a pair of ends, its size, raw mode, and the way to hand one to another process.

Here: what a program that runs something on a terminal needs. Not here: what flows through it (the
keeper). After pty(7), ioctl_tty(2), termios(3), unix(7), and the console socket of runc
(docs/terminals.md there): the runtime sends the other side of the container's terminal, as a
descriptor, to whoever listens.
"""

import contextlib
import fcntl
import os
import socket
import struct
import termios
import tty
from collections.abc import Iterator

from labkit.errors import InvalidParameter, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

TIOCSPTLCK, TIOCGPTN, TIOCGPTPEER = 0x40045431, 0x80045430, 0x5441  # <asm-generic/ioctls.h>


class Pty:
    """Two ends of one terminal: what is written to `master` is typed at `slave`, and back.

    `with` closes both ends; either may have been given away before, with detach().
    """

    __slots__ = ("master", "name", "slave")

    def __init__(self, master: int, slave: int, name: str) -> None:
        self.master, self.slave, self.name = master, slave, name

    def close(self) -> None:
        """Close both ends; a second call does nothing."""
        for end in ("master", "slave"):
            if (fd := self.detach(end)) >= 0:
                os.close(fd)

    def detach(self, end: str) -> int:
        """Give the descriptor "master" or "slave" away: it is the caller's to close."""
        fd: int = getattr(self, end)
        setattr(self, end, -1)
        return fd

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_pty(dev: str = "/dev") -> Pty:
    """A new pair in the devpts instance that is mounted at `dev`/pts; name is the slave's path.

    The slave is opened through the master (TIOCGPTPEER), not by its name, which another devpts
    instance may have too. The caller gets no controlling terminal.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    master = os.open(f"{dev}/ptmx", flags)
    try:
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))  # unlockpt(3)
        (number,) = struct.unpack("i", fcntl.ioctl(master, TIOCGPTN, bytes(4)))
        slave = fcntl.ioctl(master, TIOCGPTPEER, flags)
    except BaseException:
        os.close(master)
        raise
    return Pty(master, slave, f"{dev}/pts/{number}")


def size(fd: int) -> tuple[int, int]:
    """(rows, columns) of the terminal, TIOCGWINSZ."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def resize(fd: int, rows: int, columns: int) -> None:
    """Set the size; the foreground process group gets SIGWINCH when it changed, TIOCSWINSZ."""
    if not (0 <= rows <= 0xFFFF and 0 <= columns <= 0xFFFF):
        raise InvalidParameter(f"terminal size {rows} x {columns}: 0 to 65535 each")
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def take_control(slave: int) -> None:
    """Lead a new session with this as the controlling terminal: Ctrl-C and hang-up reach us.

    PermissionError when the caller leads a process group already, setsid(2). For a forked child.
    """
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


def become_stdio(slave: int) -> None:
    """Make the terminal our input, output and error output, and close `slave` itself."""
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    if slave > 2:
        os.close(slave)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Every key goes through as it is for the time of a `with`; then the old mode is back."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


# ---- the console socket ---------------------------------------------------------


def send_console(path: str, master: int, name: str) -> None:
    """Connect to the listening unix socket `path` and send it the master, SCM_RIGHTS in unix(7).

    The bytes that must go with a descriptor are the terminal's name. The sender may close its copy.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        socket.send_fds(connection, [name.encode()], [master])


def receive_console(connection: socket.socket) -> tuple[int, str]:
    """(master, name) from an accepted connection; the descriptor is the caller's to close.

    Unavailable when the other side ended without one, or sent several.
    """
    # not socket.recv_fds: it does not pass the flag on
    room = socket.CMSG_SPACE(8 * struct.calcsize("i"))
    text, messages, _, _ = connection.recvmsg(4096, room, socket.MSG_CMSG_CLOEXEC)
    fds = [
        fd
        for level, kind, data in messages
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for (fd,) in struct.iter_unpack("i", data)
    ]
    if len(fds) == 1:
        return fds[0], text.decode()
    for fd in fds:
        os.close(fd)
    raise Unavailable(f"the console socket gave {len(fds)} descriptors, not one")
