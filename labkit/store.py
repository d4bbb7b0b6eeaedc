"""Small JSON files that are whole at every instant: written beside, synced, renamed.

One flock per directory keeps writers apart; readers need none, because rename(2) is atomic.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator


def write_json(path: str, value: object) -> None:
    """Replace `path` by `value` as JSON; a crash leaves the old file or the new one."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_json(path: str):  # type: ignore[no-untyped-def]  # typing costs 8 ms at import
    """The value in `path`; FileNotFoundError and json.JSONDecodeError pass as they are."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the directory's lock, flock(2); it goes with the process, however that ends."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
