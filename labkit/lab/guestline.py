"""The serial line to a guest: lines out, one command in, and the program at the host's end (qemu).

    guest -> host   @init SECONDS            first act of /init, with its /proc/uptime
    guest -> host   @ready                   from now on it takes commands
    host -> guest   NUMBER BASE64            a command for sh
    guest -> host   @NUMBER STATUS BASE64    its exit status, its standard output and error

One line each way, so no output can be mistaken for an answer. Lines without an @ are the console:
kernel messages, kept for the error text. A thread stamps each line as it comes, because the time of
the boot is asked for long after it. The guest's end is INIT in guestimage.py.
"""

import base64
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from labkit.errors import Conflict, InvalidParameter, Unavailable

#: the terminal of the guest buffers 64 KiB; a command must fit with room to spare
COMMAND_MAX = 16384

#: PR_SET_PDEATHSIG, prctl(2); a parent that died before the call sends no signal, so look again
_LEASH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def leashed(command: Sequence[str]) -> list[str]:
    """The command, so started that it gets SIGKILL when the thread that starts it dies."""
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]


class Line:
    """A started program with the serial line at its standard input and output.

    It gets SIGKILL when the thread that made it dies, see leashed().
    """

    def __init__(self, command: Sequence[str], fd: int) -> None:
        """`fd` is the one descriptor, besides the line, that the program inherits."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            leashed(command), pass_fds=(fd,), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._lines: queue.Queue[tuple[float, str] | None] = queue.Queue()
        self._console: list[str] = []
        self._number = 0
        self._thread = threading.Thread(target=self._read, name="guest console", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Kill the program and wait until it is gone; calling it again does nothing."""
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put((time.monotonic(), line.decode(errors="replace").strip()))
        self._lines.put(None)

    def expect(self, word: str, end: float) -> tuple[float, str]:
        """The next line that starts with `word`, and the time.monotonic() at which it came.

        Unavailable when it has not come at the time `end`, or when the guest ends before.
        """
        while True:
            try:
                found = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise Unavailable(f"the guest did not say {word} in time{self._said()}") from None
            if found is None:
                self._lines.put(None)
                raise Unavailable(f"the guest has ended{self._said()}")
            if found[1].split(" ", 1)[0] == word:
                return found
            self._console.append(found[1])

    def ask(self, command: str, timeout: float) -> tuple[int, str]:
        """Let the guest's sh run `command`: its exit status and its output."""
        raw = base64.b64encode(command.encode())
        if len(raw) > COMMAND_MAX:
            raise InvalidParameter(f"a command of {len(command)} characters is too long")
        self._number += 1
        self._send(b"%d %s\n" % (self._number, raw))
        _, line = self.expect(f"@{self._number}", time.monotonic() + timeout)
        _, status, *output = line.split()
        return int(status), base64.b64decode("".join(output)).decode(errors="replace")

    def _send(self, line: bytes) -> None:
        pipe = self.process.stdin
        if pipe is None or pipe.closed:
            raise Conflict("this guest was stopped: make a new one")
        try:
            pipe.write(line)
            pipe.flush()
        except BrokenPipeError:
            raise Unavailable(f"the guest has ended{self._said()}") from None

    def _said(self) -> str:
        text = "; ".join(line for line in self._console[-3:] if line)
        return f", its last words: {text}" if text else ""
