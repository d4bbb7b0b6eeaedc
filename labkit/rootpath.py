"""Paths inside another root: no symbolic link, and nobody who swaps one in, leads out of it.

A container's file system was written by others. /etc in it may be a link to ../../etc: followed by
the host, that is the host's /etc. openat2(2) with RESOLVE_IN_ROOT treats `root` as / for every
component, in the kernel, so nothing can change between check and use; the result is a descriptor.
"""

import contextlib
import os
from collections.abc import Iterator

from labkit.errors import InvalidParameter
from labkit.linux import syscalls
from labkit.linux.constants import Resolve

#: as many links as path_resolution(7) follows
MAX_LINKS = 40
#: a rename or mount anywhere makes ".." in openat2 fail with EAGAIN; it is to be tried again
MAX_TRIES = 128


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    """Own a descriptor for the time of a `with`."""
    try:
        yield fd
    finally:
        os.close(fd)


def open_root(root: str) -> int:
    """A descriptor of the directory `root`; InvalidParameter for a relative path."""
    if not os.path.isabs(root):
        raise InvalidParameter(f"root {root!r} is not an absolute path")
    return os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def resolve(root: str, path: str) -> int:
    """An O_PATH descriptor of `path` as a process with this root would find it."""
    with closing(open_root(root)) as top:
        return _open(top, path)


def _open(top: int, path: str) -> int:
    """openat2(2) itself; "" is the root."""
    how = syscalls.OpenHow(
        flags=os.O_PATH | os.O_CLOEXEC, resolve=Resolve.IN_ROOT | Resolve.NO_MAGICLINKS
    )
    for _ in range(MAX_TRIES - 1):
        with contextlib.suppress(BlockingIOError):
            return syscalls.openat2(top, path or ".", how)
    return syscalls.openat2(top, path or ".", how)


def real(root: str, path: str) -> str:
    """Where that is in our own root: the path without links."""
    with closing(resolve(root, path)) as fd:
        return os.readlink(f"/proc/self/fd/{fd}")


def ensure(root: str, path: str, *, directory: bool) -> int:
    """As resolve, but what is missing is created: directories (755) and, at the end, unless
    `directory`, an empty file (644). A dangling link is created where it points to, in the root.
    """
    with closing(open_root(root)) as top:
        return _ensure(top, path.strip("/"), directory=directory, links=0)


def _ensure(top: int, path: str, *, directory: bool, links: int) -> int:
    with contextlib.suppress(FileNotFoundError):
        return _open(top, path)
    above, _, name = path.rpartition("/")
    with closing(_ensure(top, above, directory=True, links=links)) as parent:
        if (link := _link_at(parent, name)) is None:
            with contextlib.suppress(FileExistsError):  # somebody else made it: as good
                _create(parent, name, directory=directory)
            return _open(top, path)
    if links == MAX_LINKS:
        raise InvalidParameter(f"more than {MAX_LINKS} symbolic links at {path!r}")
    beside = f"{above}/{link}" if not link.startswith("/") else link
    return _ensure(top, beside.strip("/"), directory=directory, links=links + 1)


def _link_at(parent: int, name: str) -> str | None:
    """What the symbolic link `name` says; None when it is not a link, or not there."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


def _create(parent: int, name: str, *, directory: bool) -> None:
    if directory:
        os.mkdir(name, 0o755, dir_fd=parent)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=parent))


@contextlib.contextmanager
def parent(root: str, path: str) -> Iterator[tuple[int, str]]:
    """(descriptor of the directory, last name) to make `path` with mknodat(2) or symlinkat(2)."""
    above, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise InvalidParameter(f"{path!r} does not end in a name")
    with closing(ensure(root, above, directory=True)) as fd:
        yield fd, name
