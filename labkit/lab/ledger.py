"""The ledger: every kernel object that a notebook makes, written down before it is made.

One file per owner, RUN/ledger/OWNER.json, schema 1: the owner's pid and start time, and entries of
(kind, name) in the order of making. What is in it belongs to the kit; reset removes that and
nothing else. Written before the object is made, an entry survives SIGKILL at any moment: at worst
it names something that never came to be.

    cgroup    path below /sys/fs/cgroup, labkit-TAG-nb03/machine
    netns     name below /run/netns
    link      network interface of this network namespace
    mount     mount point of this mount namespace
    path      file or directory
    data      a path that is kept, unless reset is told to take data too
    process   PID:START, the start time of proc(5)
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit import store
from labkit.errors import Conflict, InvalidParameter
from labkit.linux import procfs
from labkit.paths import Instance

SCHEMA = 1
KINDS = ("cgroup", "netns", "link", "mount", "path", "data", "process")


@dataclass(frozen=True)
class Entry:
    """One object: its kind and exact name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Record:
    """One ledger file as read."""

    owner: str
    pid: int
    started: int
    boot: str
    entries: tuple[Entry, ...]

    @property
    def alive(self) -> bool:
        """Does the owner's process still run? After a reboot its number means another one."""
        return self.boot == boot_id() and procfs.alive(self.pid, self.started)

    @property
    def mine(self) -> bool:
        return self.pid == os.getpid() and self.alive


class Ledger:
    """The entries of one owner, a notebook such as "nb03"; the calling process becomes its keeper.

    Conflict when another live process keeps this owner's ledger. Entries that a dead one left are
    taken over: reset them first.
    """

    def __init__(self, instance: Instance, owner: str) -> None:
        self.instance, self.owner = instance, _check_owner(owner)
        with self._changing() as entries:
            del entries  # taking over is enough

    @property
    def path(self) -> str:
        return os.path.join(self.instance.ledger, f"{self.owner}.json")

    def record(self, kind: str, name: str | int) -> str:
        """Write the object down; to be called just before making it. Returns the name as stored.

        A process may be given by its pid alone. InvalidParameter for a name that is not clearly
        this instance's own, so that no reset can ever touch anything else.
        """
        entry = checked(self.instance, kind, name)
        with self._changing() as entries:
            if entry not in entries:
                entries.append(entry)
        return entry.name

    def forget(self, kind: str, name: str | int) -> None:
        """Strike out an object that is gone; no error when it is not there."""
        with self._changing() as entries:
            gone = [e for e in entries if e.kind == kind and _is_named(e, str(name))]
            for entry in gone:
                entries.remove(entry)

    @contextlib.contextmanager
    def recorded(self, kind: str, name: str | int) -> Iterator[str]:
        """record() now, forget() when the block ends without an exception."""
        stored = self.record(kind, name)
        yield stored
        self.forget(kind, stored)

    @property
    def entries(self) -> tuple[Entry, ...]:
        found = read(self.path)
        return found.entries if found else ()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Entry]]:
        os.makedirs(self.instance.ledger, mode=0o700, exist_ok=True)
        with store.locked(self.instance.ledger):
            found = read(self.path)
            if found and found.alive and not found.mine:
                raise Conflict(f"{self.owner} is open in another kernel, pid {found.pid}")
            entries = list(found.entries) if found else []
            yield entries
            pid = os.getpid()
            write(
                self.path, Record(self.owner, pid, procfs.start_time(pid), boot_id(), (*entries,))
            )


def checked(instance: Instance, kind: str, name: str | int) -> Entry:
    """The entry, if it names an object that can only be this instance's; InvalidParameter else."""
    if kind == "process":
        return Entry(kind, _process(str(name)))
    text = str(name)
    if kind in ("cgroup", "netns"):
        first, *rest = text.split("/")
        fits = first.startswith(instance.name("")) and not {"", ".", ".."} & set(rest)
        fits = fits and (kind == "cgroup" or not rest)
    elif kind == "link":
        fits = text.startswith(instance.link("")) and "/" not in text
    elif kind in ("mount", "path", "data"):
        text = _absolute(text)
        fits = _is_own_path(instance, text)
    else:
        raise InvalidParameter(f"no ledger kind {kind!r}: there are {', '.join(KINDS)}")
    if not fits:
        raise InvalidParameter(f"{kind} {str(name)!r} is not a name of instance {instance.tag}")
    return Entry(kind, text)


def read(path: str) -> Record | None:
    """The ledger in a file; None when there is none. A broken one is set aside, never believed."""
    try:
        return _parsed(store.read_json(path))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        os.replace(path, f"{path}.broken")
        print(f"[note] {path} cannot be understood: it is now {os.path.basename(path)}.broken")
        return None


def write(path: str, record: Record) -> None:
    entries = [[entry.kind, entry.name] for entry in record.entries]
    keeper = {"owner": record.owner, "pid": record.pid, "started": record.started}
    store.write_json(path, {"schema": SCHEMA, **keeper, "boot": record.boot, "entries": entries})


def owners(instance: Instance) -> list[str]:
    """Everyone who has a ledger in this instance, dead or alive."""
    try:
        names = os.listdir(instance.ledger)
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def path_of(instance: Instance, owner: str) -> str:
    return os.path.join(instance.ledger, f"{_check_owner(owner)}.json")


def boot_id() -> str:
    """New at every boot of the kernel, random(4)."""
    return procfs.read("sys", "kernel/random/boot_id").strip()


def _parsed(value: dict[str, Any]) -> Record:
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r}")
    entries = tuple(Entry(str(kind), str(name)) for kind, name in value["entries"])
    who = str(value["owner"]), int(value["pid"]), int(value["started"])
    return Record(*who, str(value["boot"]), entries)


def _check_owner(owner: str) -> str:
    if not owner.replace("-", "").isalnum():
        raise InvalidParameter(f"an owner is letters, digits and dashes, not {owner!r}")
    return owner


def _is_named(entry: Entry, name: str) -> bool:
    if entry.kind in ("mount", "path", "data"):
        return entry.name == _absolute(name)
    return entry.name == name or (entry.kind == "process" and entry.name.startswith(f"{name}:"))


def _process(text: str) -> str:
    """PID:START of a process given so or as a pid; ProcessLookupError when it is gone."""
    pid, _, started = text.partition(":")
    if not pid.isdigit() or (started and not started.isdigit()) or int(pid) < 2:
        raise InvalidParameter(f"a process is PID or PID:START, not {text!r}")
    return f"{pid}:{started or procfs.start_time(int(pid))}"


def _absolute(path: str) -> str:
    """Links in the directories above are resolved, the last component is not."""
    if not os.path.isabs(path):
        raise InvalidParameter(f"a recorded path must be absolute, not {path!r}")
    above, last = os.path.split(os.path.normpath(path))
    return os.path.join(os.path.realpath(above), last)


def _is_own_path(instance: Instance, path: str) -> bool:
    """Below one of the two roots, or with this instance's prefix in its own name."""
    roots = (os.path.realpath(instance.root), os.path.realpath(instance.run))
    return os.path.basename(path).startswith(instance.name("")) or any(
        path.startswith(f"{root}/") for root in roots if root != "/"
    )
