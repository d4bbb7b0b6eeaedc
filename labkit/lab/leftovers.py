"""What is left of labkit on a machine: ledgers of dead owners, and objects in no ledger at all.

Objects are found by this instance's exact prefix, labkit-TAG- or lkTAG. Only looking: the first
kind is what reset removes, the second is shown to a person: nobody wrote down that it is ours.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from labkit.lab import ledger
from labkit.lab.ledger import Entry
from labkit.linux import procfs
from labkit.paths import Instance


@dataclass(frozen=True)
class Leftover:
    """One object; owner is None when no ledger has it."""

    entry: Entry
    owner: str | None

    def __str__(self) -> str:
        return f"{self.entry} of {self.owner}" if self.owner else f"{self.entry}, in no ledger"


def leftovers(instance: Instance) -> list[Leftover]:
    """Entries of dead owners whose object is still there, then objects that no ledger has."""
    records = [ledger.read(ledger.path_of(instance, one)) for one in ledger.owners(instance)]
    known = {entry for record in records if record for entry in record.entries}
    found = [
        Leftover(entry, record.owner)
        for record in records
        if record and not record.alive
        for entry in record.entries
        if entry.kind != "data" and exists(entry)
    ]
    return found + [Leftover(e, None) for e in present(instance) if not _covered(e, known)]


def exists(entry: Entry) -> bool:
    """Is the object that the entry names there now?"""
    kind, name = entry.kind, entry.name
    if kind == "process":
        pid, started = map(int, name.split(":"))
        return procfs.alive(pid, started)
    if kind == "cgroup":
        return any(os.path.isdir(f"{root}/{name}") for root in _cgroup_roots())
    if kind == "netns":
        return os.path.lexists(f"/run/netns/{name}")
    if kind == "link":
        return os.path.isdir(f"/sys/class/net/{name}")
    if kind == "mount":
        return any(mount.point == name for mount in procfs.mountinfo())
    return os.path.lexists(name)


def present(instance: Instance) -> list[Entry]:
    """Cgroups, named netns, links and mounts that bear this instance's prefix, sorted."""
    prefix = instance.name("")
    found = {Entry("cgroup", n) for r in _cgroup_roots() for n in _names(r) if n.startswith(prefix)}
    found |= {Entry("netns", n) for n in _names("/run/netns") if n.startswith(prefix)}
    found |= {Entry("link", n) for n in _names("/sys/class/net") if n.startswith(instance.link(""))}
    roots = tuple(os.path.realpath(root) + "/" for root in (instance.root, instance.run))
    found |= {Entry("mount", m.point) for m in procfs.mountinfo() if m.point.startswith(roots)}
    return sorted(found, key=str)


def _covered(entry: Entry, known: set[Entry]) -> bool:
    """Is it in a ledger, or (cgroups) the directory above one that is?"""
    above = f"{entry.name}/"
    return any(k.kind == entry.kind and f"{k.name}/".startswith(above) for k in known)


def _cgroup_roots() -> list[str]:
    kinds = ("cgroup", "cgroup2")
    return list(dict.fromkeys(m.point for m in procfs.mountinfo() if m.fstype in kinds))


def _names(directory: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from os.listdir(directory)
