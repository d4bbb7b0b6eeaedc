"""Aliases for numbers that differ at each run: namespace inodes and pids.

`host` is the namespace that the notebook kernel itself is in, `uts#1` the first other one that was
seen. So equality and difference stay visible and the text stays the same from run to run, which a
compared notebook needs. Raw numbers are for Card's `live` values. namespaces(7)

The kernel reuses inode numbers of dead namespaces at once. An alias therefore holds as long as a
process that was seen in the namespace is still in it; after that the number counts as new.
"""

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from labkit.errors import NotFound
from labkit.lab.nsmap import NamespaceMap
from labkit.linux import procfs

#: the notebook kernel's own namespaces, as they were at import
HOST: Mapping[str, int] = MappingProxyType(procfs.namespaces())


class HasPid(Protocol):
    @property
    def pid(self) -> int: ...


#: a pid, an object that has one (a child, a sandbox), or saved inodes by kind
Process = int | HasPid | Mapping[str, int]
Witness = tuple[int, int]


class Names:
    """The aliases of one lab, given in order of first sight.

    host: the namespaces that go by the name `home`; the notebook kernel's own if nothing is said.
    """

    def __init__(self, host: Mapping[str, int] = HOST, home: str = "host") -> None:
        self._host, self._home = host, home
        self._inodes: dict[tuple[str, int], str] = {}
        self._witnesses: dict[str, set[Witness]] = {}
        self._counts: dict[str, int] = {}
        self._pids: dict[Witness, str] = {_witness(os.getpid()): "kernel"}

    def ns(self, process: Process, kind: str) -> str:
        """The alias of one namespace of a process: "host" or "uts#1"."""
        return self.namespaces(process, [kind])[kind]

    def namespaces(self, process: Process, kinds: Iterable[str] | None = None) -> dict[str, str]:
        """Kind -> alias; of all kinds that this kernel has, or of those asked for.

        ProcessLookupError when the process is gone, NotFound for a kind that does not exist.
        """
        witness = None if isinstance(process, Mapping) else _witness(_pid(process))
        inodes = process if isinstance(process, Mapping) else procfs.namespaces(_pid(process))
        aliases = {}
        for kind in kinds or inodes:
            if kind not in inodes:
                raise NotFound(f"no namespace kind {kind!r} here: there are {', '.join(inodes)}")
            aliases[kind] = self.inode(kind, inodes[kind], witness)
        return aliases

    def inode(self, kind: str, inode: int, witness: Witness | None = None) -> str:
        """The alias of a namespace inode that `witness` (pid, start time) was seen in."""
        if self._host.get(kind) == inode:
            return self._home
        alias = self._inodes.get((kind, inode))
        if alias is None or not self._still_there(alias, kind, inode):
            alias = self._inodes[kind, inode] = self._next(kind)
            self._witnesses[alias] = set()
        if witness:
            self._witnesses[alias].add(witness)
        return alias

    def same(self, one: Process, other: Process, kind: str) -> bool:
        """Are both in the same namespace of this kind?"""
        return self.ns(one, kind) == self.ns(other, kind)

    def pid(self, process: int | HasPid) -> str:
        """The alias of a process: "kernel" for the notebook kernel, else "pid#1" or its name."""
        witness = _witness(_pid(process))
        if witness not in self._pids:
            self._pids[witness] = self._next("pid#")
        return self._pids[witness]

    def call(self, process: int | HasPid, alias: str) -> None:
        """Give a process a name of your own before pid() numbers it."""
        self._pids[_witness(_pid(process))] = alias

    def map(self, processes: Mapping[str, Process], kinds: Iterable[str] = ()) -> NamespaceMap:
        """The namespace map: who shares what; a picture, and the same as a text list."""
        chosen = list(kinds) or None
        rows = {label: self.namespaces(process, chosen) for label, process in processes.items()}
        return NamespaceMap(rows)

    def _next(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{kind.rstrip('#')}#{self._counts[kind]}"

    def _still_there(self, alias: str, kind: str, inode: int) -> bool:
        witnesses = self._witnesses[alias]
        return not witnesses or any(_is_in(witness, kind, inode) for witness in witnesses)


def _pid(process: int | HasPid) -> int:
    return process if isinstance(process, int) else process.pid


def _witness(pid: int) -> Witness:
    return pid, procfs.start_time(pid)


def _is_in(witness: Witness, kind: str, inode: int) -> bool:
    pid, started = witness
    try:
        return procfs.alive(pid, started) and procfs.ns_inode(pid, kind) == inode
    except OSError:  # it ended between the two looks, or is not ours to look at
        return False
