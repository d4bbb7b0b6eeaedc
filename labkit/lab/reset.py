"""Reset: remove what the ledger names, and nothing else.

Order: processes and the members of cgroups are killed, mounts are undone newest first, then the
rest is removed newest first. Each success is struck out at once, so a reset that is killed half-way
goes on at the next call. Deleting never crosses a mount: a path under which something is mounted is
left alone and said so. Volumes and learners' work are kept unless `data`.
"""

import argparse
import errno
import os
import select
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit import store
from labkit.errors import Conflict, InvalidParameter, LabkitError, NotFound
from labkit.lab import ledger
from labkit.lab.ledger import Entry, Record
from labkit.linux import procfs, syscalls
from labkit.linux.constants import UmountFlag
from labkit.paths import Instance

KILL, POLLIN, SECONDS = 9, 1, 10.0
GONE = (NotFound, FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, repr=False)
class Outcome:
    """What became of one entry: "removed", "was gone", or "kept: " and why."""

    owner: str
    entry: Entry
    what: str

    @property
    def kept(self) -> bool:
        return self.what.startswith("kept")

    def __str__(self) -> str:
        return f"{self.entry}: {self.what}"

    __repr__ = __str__


def reset(
    instance: Instance,
    owner: str | None = None,
    *,
    data: bool = False,
    force: bool = False,
    only: str | None = None,
) -> list[Outcome]:
    """Remove all that one owner's ledger names (all owners' when None); what became of each.

    Conflict when `owner` is a live process that is not the caller, unless `force`. With owner None
    the objects of live owners are kept. `only` takes one kind, such as "cgroup".
    """
    if only is not None and only not in ledger.KINDS:
        raise InvalidParameter(f"no ledger kind {only!r}: there are {', '.join(ledger.KINDS)}")
    if not os.path.isdir(instance.ledger):
        return []
    with store.locked(instance.ledger):
        outcomes: list[Outcome] = []
        for one in ledger.owners(instance) if owner is None else [owner]:
            path = ledger.path_of(instance, one)
            if not (record := ledger.read(path)):
                continue
            if record.alive and not record.mine and not force:
                if owner is not None:
                    raise Conflict(f"{one} is in use by pid {record.pid}: shut its kernel down")
                outcomes += [_kept(record, entry) for entry in record.entries]
                continue
            outcomes += _Removal(instance, path, record).run(only, data=data)
        return outcomes


def _kept(record: Record, entry: Entry) -> Outcome:
    return Outcome(record.owner, entry, f"kept: in use by pid {record.pid}")


class _Removal:
    """The removal of one owner's entries; the file says at every moment what is left."""

    def __init__(self, instance: Instance, path: str, record: Record) -> None:
        self.instance, self.path, self.record = instance, path, record
        self.left = list(record.entries)

    def run(self, only: str | None, *, data: bool) -> list[Outcome]:
        outcomes = []
        for kinds in (("process", "cgroup"), ("mount",), ("netns", "link", "path", "data")):
            for entry in reversed(self.record.entries):
                if entry.kind in kinds and only in (None, entry.kind):
                    if entry.kind == "data" and not data:
                        continue
                    outcomes.append(self._remove(entry))
        if not self.left and not self.record.mine:
            os.unlink(self.path)
        return outcomes

    def _remove(self, entry: Entry) -> Outcome:
        try:
            name = ledger.checked(self.instance, entry.kind, entry.name).name
            REMOVERS[entry.kind](name)
            what = "removed"
        except GONE:
            what = "was gone"
        except (OSError, LabkitError) as error:
            return Outcome(self.record.owner, entry, f"kept: {error}")
        self.left.remove(entry)
        who = self.record
        ledger.write(self.path, Record(who.owner, who.pid, who.started, who.boot, tuple(self.left)))
        return Outcome(self.record.owner, entry, what)


# ---- one remover per kind; NotFound and its kin mean that it was gone ---------------


def kill_process(name: str) -> None:
    """SIGKILL to PID:START and wait for its end; another process with that pid is not touched."""
    pid, started = map(int, name.split(":"))
    fd = syscalls.pidfd_open(pid)
    try:
        if not procfs.alive(pid, started):
            raise ProcessLookupError(errno.ESRCH, "no such process", name)
        syscalls.pidfd_send_signal(fd, KILL)
        _wait(fd, name)
    finally:
        os.close(fd)


def _wait(pidfd: int, name: str) -> None:
    poll = select.poll()
    poll.register(pidfd, POLLIN)  # readable when the process has ended, pidfd_open(2)
    if not poll.poll(SECONDS * 1000):
        raise Conflict(f"process {name} is still there {SECONDS:g} s after SIGKILL")
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass  # not our child: its parent, or init, takes the exit status


def remove_cgroup(name: str) -> None:
    """Kill all members, those of groups below too, and remove the directories."""
    from labkit import cgroups

    with cgroups.open(name):
        pass  # leaving the block is kill, wait, remove


def unmount(point: str) -> None:
    """Undo every mount at this very point; one that is busy is detached."""
    layers = [mount for mount in procfs.mountinfo() if mount.point == point]
    if not layers:
        raise NotFound(f"nothing is mounted at {point}")
    for _ in layers:
        try:
            syscalls.umount2(point, UmountFlag.NOFOLLOW)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            syscalls.umount2(point, UmountFlag.NOFOLLOW | UmountFlag.DETACH)


def remove_netns(name: str) -> None:
    """The named network namespace as ip-netns(8) keeps it: a mount on a file in /run/netns."""
    path = f"/run/netns/{name}"
    if not os.path.lexists(path):
        raise NotFound(f"no network namespace {name}")
    try:
        unmount(path)
    except NotFound:
        pass  # killed between making the file and mounting on it
    os.unlink(path)


def remove_link(name: str) -> None:
    """Delete a network interface; the other end of a veth pair goes with it."""
    from labkit.linux.rtnetlink import Rtnetlink

    try:
        with Rtnetlink() as route:
            route.link_del(name)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise NotFound(f"no link {name}") from error
        raise


def remove_path(path: str) -> None:
    """Delete a file or a tree; Conflict when something is mounted at it or below."""
    top = os.lstat(path)
    under = [
        m.point for m in procfs.mountinfo() if m.point == path or m.point.startswith(f"{path}/")
    ]
    if under:
        raise Conflict(f"something is still mounted at {under[-1]}")
    if not stat.S_ISDIR(top.st_mode):
        os.unlink(path)
        return
    for _, directories, files, fd in os.fwalk(path, topdown=False):
        if os.fstat(fd).st_dev != top.st_dev:
            raise Conflict(f"{path} holds another file system")
        for file in files:
            os.unlink(file, dir_fd=fd)
        for directory in directories:
            _remove_directory(directory, fd)
    os.rmdir(path)


def _remove_directory(name: str, fd: int) -> None:
    """fwalk lists links to directories as directories."""
    if stat.S_ISLNK(os.lstat(name, dir_fd=fd).st_mode):
        os.unlink(name, dir_fd=fd)
    else:
        os.rmdir(name, dir_fd=fd)


REMOVERS: dict[str, Callable[[str], None]] = {
    "process": kill_process,
    "cgroup": remove_cgroup,
    "mount": unmount,
    "netns": remove_netns,
    "link": remove_link,
    "path": remove_path,
    "data": remove_path,
}


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many of each kind were removed, and what was kept, in words without names."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.what == "removed":
            counts[outcome.entry.kind] = counts.get(outcome.entry.kind, 0) + 1
    words = [f"{count} {_plural(kind, count)}" for kind, count in sorted(counts.items())]
    kept = [str(outcome) for outcome in outcomes if outcome.kept]
    return "; ".join(["removed " + ", ".join(words) if words else "nothing was left", *kept])


def _plural(kind: str, count: int) -> str:
    irregular = {"netns": "netns", "data": "data", "process": "processes"}
    return kind if count == 1 else irregular.get(kind, f"{kind}s")


def main(arguments: Sequence[str] | None = None) -> int:
    """`labkit reset`: 0 when nothing of the kit is left, 1 when something was kept."""
    parser = argparse.ArgumentParser(
        prog="labkit reset", description="Remove what notebooks left: exactly what they wrote down."
    )
    parser.add_argument("notebook", nargs="?", help="a notebook's number, such as 03; else all")
    parser.add_argument("--only", choices=ledger.KINDS, help="one kind of object")
    parser.add_argument("--data", action="store_true", help="volumes and learners' data too")
    parser.add_argument("--force", action="store_true", help="even while a notebook is open")
    given = parser.parse_args(arguments)
    owner = None if given.notebook is None else f"nb{given.notebook.removeprefix('nb'):0>2}"
    outcomes = reset(Instance(), owner, data=given.data, force=given.force, only=given.only)
    for outcome in outcomes:
        print(outcome)
    if not outcomes:
        print("nothing was left")
    return 1 if any(outcome.kept for outcome in outcomes) else 0
