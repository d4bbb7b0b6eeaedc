"""The names that are ready in a child: system calls, their flags, modules, and some helpers.

Not here: the loop that runs sent code (labkit.lab.child_main). Everything is under the name that
the man pages give it: unshare(CLONE_NEWUTS), mount(..., MS_PRIVATE | MS_REC).
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
import time

from labkit.linux import constants, procfs, syscalls
from labkit.linux.procfs import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import IntEnum, IntFlag
    from typing import Any, NoReturn

#: prefix of the C name -> the enum that holds the numbers
_PREFIXES: "dict[str, type[IntFlag] | type[IntEnum]]" = {
    "CLONE_": constants.CloneFlag,
    "MS_": constants.MountFlag,
    "MNT_": constants.UmountFlag,
    "MOUNT_ATTR_": constants.MountAttr,
    "OPEN_TREE_": constants.OpenTree,
    "MOVE_MOUNT_": constants.MoveMount,
    "AT_": constants.At,
    "PR_": constants.Prctl,
}

_WRAPPERS = (
    "unshare setns pivot_root sethostname setdomainname mount umount2 open_tree move_mount "
    "mount_setattr MountAttributes fsopen fsconfig fsmount clone3 CloneArgs pidfd_open "
    "pidfd_send_signal pidfd_getfd prctl close_range"
).split()


def ready_names() -> "dict[str, Any]":
    """The namespace in which sent code runs: system calls, flags, modules and helpers."""
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    for module in (os, sys, signal, time, json, errno, struct, ctypes, socket, procfs):
        names[module.__name__.rpartition(".")[2]] = module
    for name in _WRAPPERS:
        names[name] = getattr(syscalls, name)
    for prefix, family in _PREFIXES.items():
        names.update((prefix + flag, member) for flag, member in family.__members__.items())
    helpers = (sh, spawn, gethostname, help, namespaces, contextlib.suppress, os.chroot, os.chdir)
    return names | {helper.__name__: helper for helper in helpers}


def sh(command: str) -> None:
    """Run a shell command; it shares this process's namespaces, root, directory and output."""
    flush()
    pid = os.posix_spawnp("sh", ["sh", "-c", command], os.environ)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        print(f"[ended by {signal.Signals(-code).name}]")
    elif code:
        print(f"[exit code {code}]")


def spawn(function: "Callable[..., object]", *arguments: object) -> int:
    """Fork: `function` runs in the new process, which ends with it; its pid comes back at once."""
    if not callable(function):
        raise TypeError(f"spawn wants a function, not {function!r}: spawn(f), without its brackets")
    if pid := os.fork():
        return pid
    code = 0
    try:
        function(*arguments)
    except BaseException as error:
        code = last_words(error)
    leave(code)


def gethostname() -> str:
    """The host name that this process sees, uname(2)."""
    return os.uname().nodename


def help(thing: object) -> None:
    """What Python's own help shows, without a pager."""
    import pydoc  # only here: children start without it

    print(pydoc.plain(pydoc.render_doc(thing)))


# ---- leaving a forked process ---------------------------------------------------


def flush() -> None:
    """Whatever waits in Python's buffers; a pipe or terminal that is gone is no error here."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def leave(code: int) -> "NoReturn":
    """_exit(2), after a flush: no clean-up of ours in a copy."""
    flush()
    os._exit(code)


def exit_code(error: SystemExit) -> int:
    """What Python itself makes of sys.exit(argument)."""
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def last_words(error: BaseException) -> int:
    """A forked process has nobody to tell but its output."""
    if isinstance(error, SystemExit):
        return exit_code(error)
    print(f"[process {os.getpid()}] {type(error).__name__}: {error}", file=sys.stderr)
    return 1
