"""The program inside a Child: it runs the source text that the notebook kernel sends.

Here: the loop, the names that are ready for the learner, how an exception is described. Not here:
starting it and asking it (labkit.lab.child). It runs under `python -I -S` or is forked from the
init of a World, has one thread, and imports nothing heavy: what it imports before the loop is all
that is left after a pivot_root.

    kernel ── {"run": source} or {"eval": expression} ──> child      one at a time
    kernel <── {} or {"value": ...} or {"error": {...}} ── child     after the code has ended
    kernel <════ bytes of file descriptors 1 and 2 ════ child, and all that it started

Above: a stream socket with JSON behind a four-byte length. Below: one pipe. The first message of
the child is {"hello": name}: the kernel reads its pid from the credentials, unix(7). A process that
the sent code forks closes the socket at birth, so it can never answer; it runs on to the end of
that code and ends there.
"""

import ast
import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import sys

import labkit.errors
from labkit.lab.child_names import exit_code, flush, last_words, leave, ready_names
from labkit.linux import procfs, syscalls
from labkit.linux.constants import Prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, TextIO

Message = dict[str, "Any"]

# ---- the socket --------------------------------------------------------------


def send(sock: socket.socket, message: Message, fds: "list[int] | None" = None) -> None:
    """One message: its length in four bytes, then JSON; `fds` travel with the length."""
    raw = json.dumps(message).encode()
    head = struct.pack("!I", len(raw))
    if fds:
        socket.send_fds(sock, [head], fds)
    else:
        sock.sendall(head)
    sock.sendall(raw)


def receive(sock: socket.socket, maxfds: int = 0) -> "tuple[Message, list[int]]":
    """The next message and the descriptors that came with it; EOFError when the peer is gone."""
    head, fds, _, _ = socket.recv_fds(sock, 4, maxfds)
    for fd in fds:  # recv_fds takes flags, such as MSG_CMSG_CLOEXEC, and does not use them
        os.set_inheritable(fd, False)
    if not head:
        raise EOFError("the other side is gone")
    head += _exactly(sock, 4 - len(head))
    message: Message = json.loads(_exactly(sock, struct.unpack("!I", head)[0]))
    return message, fds


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        try:
            part = sock.recv(size)
        except ConnectionResetError:
            part = b""
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# ---- running what was sent ---------------------------------------------------


class Forked:
    """Knows whether this process is a copy that sent code forked; the copy drops `sock`."""

    def __init__(self, sock: socket.socket) -> None:
        self.copy = False
        self.sock = sock
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        if not self.copy:
            self.copy = True
            self.sock.close()


def serve(sock: socket.socket, name: str) -> None:
    """Answer until the kernel is gone; never returns in a forked copy."""
    names, forked = ready_names(), Forked(sock)
    send(sock, {"hello": name})
    while True:
        try:
            message, _ = receive(sock)
        except EOFError:
            return
        answer = _execute(message, names, forked, f"child {name}")
        send(sock, answer)


def _execute(message: Message, names: "dict[str, Any]", forked: Forked, filename: str) -> Message:
    """Run one message's code; a copy that was forked on the way ends here, whatever happened."""
    answer: Message = {}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the learner's stop button
    try:
        if "eval" in message:
            answer = {"value": _value(message["eval"], names, filename)}
        else:
            for code in _compile(message["run"], filename):
                exec(code, names)
    except SystemExit as error:
        leave(exit_code(error))
    except BaseException as error:
        if forked.copy:
            leave(last_words(error))
        answer = {"error": describe(error, message.get("run", ""))}
    if forked.copy:
        leave(0)
    flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return answer


def _compile(source: str, filename: str) -> "list[CodeType]":
    """The statements; a last expression apart, in "single" mode, which shows its value."""
    tree = ast.parse(source, filename)
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return [compile(tree, filename, "exec")]
    last = ast.Interactive([tree.body.pop()])
    return [compile(tree, filename, "exec"), compile(last, filename, "single")]


def _value(expression: str, names: "dict[str, Any]", filename: str) -> object:
    value = eval(compile(expression.strip(), filename, "eval"), names)
    json.dumps(value)  # TypeError here, in the child's words, and not in the loop
    return value


# ---- exceptions --------------------------------------------------------------


def describe(error: BaseException, source: str = "") -> Message:
    """An exception as JSON: type name, message, arguments that rebuild it, lines of sent code."""
    described: Message = {"type": type(error).__name__, "message": str(error), "lines": []}
    if isinstance(error, OSError) and error.errno is not None:
        described["arguments"] = [error.errno, error.strerror, _plain(error.filename)]
    elif isinstance(error, SyntaxError):
        where = (error.filename, error.lineno, error.offset, error.text)
        described["arguments"] = [error.msg, where]
    elif all(value is None or isinstance(value, str | int | float) for value in error.args):
        described["arguments"] = list(error.args)
    described["lines"] = _lines(error, source.splitlines())
    return described


def _plain(value: object) -> "str | int | None":
    return value if value is None or isinstance(value, str | int) else os.fsdecode(value)  # type: ignore[arg-type]


def _lines(error: BaseException, source: list[str]) -> list[str]:
    """ "line 2: mount(...)" for each frame of sent code; our own frames tell a learner nothing."""
    found = []
    if isinstance(error, SyntaxError) and (error.filename or "").startswith("child "):
        found.append(f"line {error.lineno}: {(error.text or '').strip()}")
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith("child "):
            inside = "" if code.co_name == "<module>" else f" in {code.co_name}"
            number = trace.tb_lineno
            text = source[number - 1].strip() if 0 < number <= len(source) else ""
            found.append(f"line {number}{inside}: {text}")
        trace = trace.tb_next
    return found


# ---- becoming the child ------------------------------------------------------


def title(text: str) -> None:
    """What ps shows for this process: the argument area is overwritten, as setproctitle(3) does.

    The kernel reads up to the first NUL when the last byte of the area is not NUL (fs/proc/base.c).
    """
    with contextlib.suppress(OSError, ValueError):
        after_comm = procfs.read("self", "stat").rpartition(")")[2].split()
        start, end = int(after_comm[45]), int(after_comm[46])  # fields 48 and 49 of proc(5)
        room = end - start
        raw = text.encode()[: room - 2]
        ctypes.memmove(start, raw + bytes(room - 1 - len(raw)) + b"\1", room)
    name = ctypes.create_string_buffer(text.encode()[:15])
    syscalls.prctl(Prctl.SET_NAME, ctypes.addressof(name))


def output_to(fd: int) -> None:
    """Descriptors 1 and 2 become `fd`, 0 reads nothing; a line is written when it is whole.

    Flushed before each fork, because what waits in a buffer at a fork is written twice.
    """
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for number in (1, 2):
        os.dup2(fd, number)
    sys.stdin = open(0, closefd=False)
    sys.stdout, sys.stderr = _stream(1), _stream(2)
    os.register_at_fork(before=flush)


def _stream(fd: int) -> "TextIO":
    return open(fd, "w", 1, "utf-8", "backslashreplace", closefd=False)


def become(sock: socket.socket, output: int, name: str) -> None:
    """Set the process up as child `name` and serve; ends the process."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.dont_write_bytecode = True
    output_to(output)
    os.close(output)
    title(name)
    with contextlib.suppress(BrokenPipeError):
        serve(sock, name)
    end_session()


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Get signal `number` when `parent` ends, prctl(2); 0: do not. The socket would end, too, but
    a process that the parent forked may hold a copy of it."""
    if parent:
        syscalls.prctl(Prctl.SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)


def end_session(*_: object) -> None:
    """Ourselves and what we started: nobody listens any more."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Arguments: parent's pid or 0, name, descriptor of the socket, descriptor of the pipe."""
    parent, name, sock, output = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:5])
    signal.signal(signal.SIGRTMAX, end_session)  # not SIGKILL: what we started shall go, too
    die_with(parent, signal.SIGRTMAX)
    os.set_inheritable(sock, False)
    become(socket.socket(fileno=sock), output, name)


#: exception types of the kit that cross the socket under their own name, besides Python's
KIT_ERRORS = {
    name: value
    for name, value in vars(labkit.errors).items()
    if isinstance(value, type) and issubclass(value, labkit.errors.LabkitError)
}
