"""A Child: a process of its own in which a notebook runs code that must not run in its kernel.

    with Child.start("a") as a:
        print(a.run("unshare(CLONE_NEWUTS); sethostname('mars'); gethostname()"))   # 'mars'
        a.pid, a.namespaces(), a.alive

The notebook kernel has threads and open files; unshare and fork belong into something small with
one thread. Here: asking a child and telling what happened to it. The program itself, the protocol
and its picture: labkit.lab.child_main. World.child() makes children inside the sandboxed machine.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.errors import InvalidParameter, Unavailable
from labkit.lab import child_main
from labkit.lab.child_answer import Collector, Output, readable, rebuild
from labkit.linux import procfs
from labkit.linux.syscalls import pidfd_open, pidfd_send_signal

TIMEOUT = 20.0  #: seconds that one run may take

#: the directory that holds the package; -I and -S leave it out of sys.path
PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Child:
    """One persistent process; code sent to it runs in one namespace, one run at a time.

    Made by Child.start or World.child. `status` asks the child's parent for its wait status and
    `oom_kills` for the kernel's count of OOM kills near it; both only for messages.
    """

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        output: int,
        status: Callable[["Child"], int | None],
        oom_kills: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self._sock, self._output = sock, output
        self._status, self._oom_kills = status, oom_kills
        self._lock = threading.Lock()
        self._ooms = 0
        self._end = ""
        try:
            self.pid = hello(sock, f"child {name!r}")
            self._pidfd = pidfd_open(self.pid)
        except BaseException:
            sock.close()
            os.close(output)
            raise

    @classmethod
    def start(cls, name: str) -> "Child":
        """A child in the caller's own namespaces; it ends with the caller."""
        check_name(name)
        ours, theirs, output, pipe = channel()
        try:
            process = launch("child_main", [name], [theirs.fileno(), pipe])
        finally:
            theirs.close()
            os.close(pipe)
        return cls(name, ours, output, lambda _: _popen_status(process))

    # ---- facts --------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Is the process there, whether it listens or not?"""
        return self._pidfd >= 0 and not readable(self._pidfd, 0)

    def namespaces(self) -> dict[str, int]:
        """Kind -> inode of its eight namespaces, read from outside."""
        self._refuse_gone()
        return procfs.namespaces(self.pid)

    def __repr__(self) -> str:
        return f"<Child {self.name} {'alive' if self.alive else 'ended'}>"

    # ---- asking -------------------------------------------------------------

    def run(self, source: str, *, timeout: float = TIMEOUT) -> Output:
        """Run `source`; what it wrote, with a last expression shown as at a prompt.

        An exception of the code is raised here, Python's and the kit's as their own type, others
        as ChildError; with the output so far in its attribute `output`. Unavailable when the child
        is gone or goes, TimeoutError when it takes longer than `timeout` seconds: it is then ended.
        """
        text, _ = self._ask({"run": textwrap.dedent(source)}, timeout)
        return text

    def eval(self, expression: str, *, timeout: float = TIMEOUT) -> Any:
        """The value of `expression` if JSON has it: numbers, text, lists, dicts, None."""
        _, answer = self._ask({"eval": expression}, timeout)
        return answer["value"]

    def _ask(self, message: dict[str, Any], timeout: float) -> tuple[Output, dict[str, Any]]:
        with self._lock:
            self._refuse_gone()
            self._ooms = self._oom_kills()
            collected = Collector(self._output)
            try:
                child_main.send(self._sock, message)
                self._await(collected, timeout)
                answer, _ = child_main.receive(self._sock)
            except TimeoutError as error:
                lines = [f"TimeoutError: {error}"]  # IPython asks for them; our frames are no news
                error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
                raise self._with_output(error, collected) from None
            except (EOFError, OSError):
                raise self._with_output(self._gone(), collected) from None
            except KeyboardInterrupt:
                self._interrupt(collected)
                raise
            collected.drain()
        if "error" in answer:
            raise self._with_output(rebuild(answer["error"], self.name), collected) from None
        return collected.text(), answer

    def _await(self, collected: Collector, timeout: float) -> None:
        """Until the answer begins to arrive, gather output; the child ends if it takes too long."""
        if not collected.until(self._sock.fileno(), timeout):
            self._kill()
            self._end = f"child {self.name!r} was ended after {timeout:g} s without an answer"
            raise TimeoutError(f"{self._end}; what it had set up is gone")

    def _interrupt(self, collected: "Collector") -> None:
        """The learner pressed stop: the code gets SIGINT, and two seconds to be done with it."""
        with contextlib.suppress(OSError):
            pidfd_send_signal(self._pidfd, signal.SIGINT)
        try:
            self._await(collected, 2)
            child_main.receive(self._sock)
        except (TimeoutError, EOFError, OSError):
            self._end = f"child {self.name!r} was ended when the cell was interrupted"
        collected.drain()
        print(collected.text(), end="")

    @staticmethod
    def _with_output(error: BaseException, collected: "Collector") -> BaseException:
        collected.drain()
        error.output = collected.text()  # type: ignore[attr-defined]
        return error

    # ---- the end ------------------------------------------------------------

    def _refuse_gone(self) -> None:
        if self._pidfd < 0:
            raise Unavailable(f"child {self.name!r} was stopped")
        if self._end:
            raise Unavailable(self._end)
        if not self.alive:
            raise self._gone()

    def _gone(self) -> Unavailable:
        """The socket closed, or the process is no more: find out which, and why."""
        if not readable(self._pidfd, 1.0):
            command = procfs.read(self.pid, "comm").strip()
            self._end = (
                f"child {self.name!r} listens no more: it became {command!r}, or closed its socket"
            )
        else:
            self._end = f"child {self.name!r} {self._cause(self._status(self))}"
        return Unavailable(self._end)

    def _cause(self, status: int | None) -> str:
        if status is None:
            return "ended"
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return f"ended itself with exit code {code}"
        text = f"was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL and self._oom_kills() > self._ooms:
            text += " (the kernel's OOM killer: oom_kills rose)"
        return text

    def _kill(self) -> None:
        """SIGKILL to the child and to what it started in its session."""
        if self.alive:  # not reaped, so the number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                pidfd_send_signal(self._pidfd, signal.SIGKILL)
        readable(self._pidfd, 5.0)

    def stop(self) -> None:
        """End the child and what it started; a second time is no error."""
        if self._pidfd < 0:
            return
        self._kill()
        self._status(self)
        self._sock.close()
        os.close(self._output)
        os.close(self._pidfd)
        self._pidfd = -1

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


# ---- making one --------------------------------------------------------------


def check_name(name: str) -> str:
    """InvalidParameter unless `name` is a short word: it becomes a process name."""
    if not (isinstance(name, str) and name.isidentifier() and name.isascii() and len(name) <= 15):
        raise InvalidParameter(f"child name {name!r} must be a word of at most 15 letters")
    return name


def program(module: str, *arguments: str) -> list[str]:
    """The command that runs labkit.lab.`module` isolated, without site, with few imports."""
    source = (
        f"import sys; sys.path.insert(0, {PACKAGE_ROOT!r}); sys.dont_write_bytecode = True; "
        f"from labkit.lab.{module} import main; main()"
    )
    return [sys.executable, "-I", "-S", "-c", source, *arguments]


def launch(
    module: str, arguments: list[str], fds: list[int], *, output: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start a helper that ends with us: our pid, `arguments` and the numbers of `fds` are its argv.

    output: where 1 and 2 go, if not where ours go. PR_SET_PDEATHSIG is about the thread that forks:
    so only the main thread may ask for it.
    """
    parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
    return subprocess.Popen(
        program(module, str(parent), *arguments, *map(str, fds)),
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )


def reap(process: "subprocess.Popen[bytes]") -> None:
    """A helper ends when what it started has ended; if it does not, it is ended."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def channel() -> tuple[socket.socket, socket.socket, int, int]:
    """(our socket, its socket, our end of the output pipe, its end); ours tells senders' pids."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    output, pipe = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(output, False)
    return ours, theirs, output, pipe


def hello(sock: socket.socket, who: str) -> int:
    """The pid of whoever says hello, in our numbering: the kernel translates it, unix(7)."""
    sock.settimeout(TIMEOUT)
    try:
        head, ancillary, _, _ = sock.recvmsg(4, socket.CMSG_SPACE(12), socket.MSG_PEEK)
        if not head:
            raise Unavailable(f"{who} ended before it said hello")
        credentials = next(data for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS)
        message, _ = child_main.receive(sock)
    except (TimeoutError, EOFError) as error:
        raise Unavailable(f"{who} did not say hello within {TIMEOUT:g} s") from error
    sock.settimeout(None)
    if "error" in message:
        raise rebuild(message["error"], who)
    pid: int = struct.unpack("iII", credentials)[0]
    return pid


def _popen_status(process: "subprocess.Popen[bytes]") -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(5)
        return -code if code < 0 else code << 8
    return None
