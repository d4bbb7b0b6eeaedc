"""The base file system: a busybox root, made from the machine's own static busybox.

Here: building $LABKIT_ROOT/base, once. Not here: mounting it (labkit.overlay, labkit.lab.sandbox).
It is the image that the first notebooks start from, before images exist: programs as links to one
file, a handful of files in /etc, and the empty directories that a container mounts on.

    python -m labkit.lab.base      builds it and says where (part of make setup)
"""

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import sys

from labkit.errors import LabkitError, Unsupported
from labkit.paths import Instance
from labkit.store import locked

#: raise it when what build() makes changes: an older base is then replaced
VERSION = 1

#: directory -> mode; bin and its like come from busybox's own list
DIRECTORIES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "mnt": 0o755, "proc": 0o555, "root": 0o700,
    "run": 0o755, "srv": 0o755, "sys": 0o555, "tmp": 0o1777, "var": 0o755, "var/tmp": 0o1777,
}  # fmt: skip

FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "learner:x:1000:1000:learner:/home:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/:/bin/false\n"
    ),
    "etc/group": "root:x:0:\nlearner:x:1000:\nnogroup:x:65534:\n",
    "etc/os-release": 'NAME="labkit busybox"\nID=labkit\nPRETTY_NAME="labkit busybox"\n',
    "etc/hostname": "base\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
}

_FIX = "install the package busybox-static"


def ensure(instance: Instance) -> str:
    """The path of the base file system, built first when it is missing or old.

    Another process never sees half of it: it is made beside and renamed. Unsupported when the
    machine has no static busybox, with the package that brings it.
    """
    busybox = find_busybox()
    stamp = _stamp(busybox)
    if _current(instance.base) == stamp:
        return instance.base
    os.makedirs(instance.root, exist_ok=True)
    with locked(instance.root):
        if _current(instance.base) != stamp:
            _replace(instance.base, busybox, stamp)
    return instance.base


def find_busybox() -> str:
    """The machine's static busybox; Unsupported when there is none, or one that needs libraries."""
    found = shutil.which("busybox", path=os.environ.get("PATH", "") + ":/bin:/usr/bin")
    if found is None:
        raise Unsupported(f"no busybox on this machine: {_FIX}")
    if not _is_static(found):
        raise Unsupported(f"{found} needs shared libraries, a container has none: {_FIX}")
    return found


def _is_static(program: str) -> bool:
    """No PT_INTERP among the program headers, elf(5): nothing else is loaded with it."""
    with open(program, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return False
        (offset,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<2H", head, 54)
        file.seek(offset)
        headers = file.read(size * count)
    kinds = (struct.unpack_from("<I", headers, n * size)[0] for n in range(count))
    return 3 not in kinds  # PT_INTERP


def _stamp(busybox: str) -> str:
    with open(busybox, "rb") as file:
        return f"{VERSION} {hashlib.file_digest(file, 'sha256').hexdigest()}\n"


def _current(base: str) -> str:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        with open(os.path.join(base, "etc/labkit-base"), encoding="utf-8") as file:
            return file.read()
    return ""


def _replace(base: str, busybox: str, stamp: str) -> None:
    """Make a new base beside the old one and put it in its place; called under the lock."""
    new, old = f"{base}.new", f"{base}.old"
    for leftover in (new, old):  # of a process that was killed here
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        build(new, busybox, stamp)
        if os.path.lexists(base):
            os.rename(base, old)
        os.rename(new, base)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def build(root: str, busybox: str, stamp: str) -> None:
    """Fill the new directory `root`; /etc/labkit-base holds `stamp` and is written last."""
    os.mkdir(root, 0o755)
    os.chmod(root, 0o755)
    for name, mode in DIRECTORIES.items():
        path = os.path.join(root, name)
        os.mkdir(path)
        os.chmod(path, mode)  # mkdir's own mode is cut by the umask
    for name, text in (FILES | {"etc/labkit-base": stamp}).items():
        with open(os.path.join(root, name), "w", encoding="utf-8") as file:
            file.write(text)
    _install(root, busybox)


def _install(root: str, busybox: str) -> None:
    """busybox itself and one relative link for each applet, at the place that it names."""
    listing = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True)
    os.mkdir(os.path.join(root, "bin"), 0o755)
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    os.chmod(os.path.join(root, "bin/busybox"), 0o755)
    for applet in listing.stdout.split():
        link = os.path.join(root, applet)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink("../" * applet.count("/") + "bin/busybox", link)


def main() -> int:
    try:
        print(f"base file system: {ensure(Instance())}")
    except (LabkitError, OSError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
