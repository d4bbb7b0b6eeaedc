"""The victim of a World: a live process that must not be hurt by what a notebook does."""

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from labkit.errors import Conflict
from labkit.lab.child import hello
from labkit.lab.child_answer import readable
from labkit.linux.syscalls import pidfd_open

if TYPE_CHECKING:
    from labkit.lab.world import World


class Victim:
    """The neighbour who must not be hurt: a process in the machine that counts, 50 times a second.

    The number lies in memory that both sides share, so looking at it disturbs nobody.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._counter = os.memfd_create("ticks", os.MFD_CLOEXEC)
        world.undo.callback(os.close, self._counter)
        os.ftruncate(self._counter, 8)
        self._pidfd = -1
        self.start()

    def start(self) -> None:
        """Start it (again); Conflict while it lives. It counts on from where it was."""
        if self.alive:
            raise Conflict("the victim is alive")
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with ours, theirs:
            self._world.ask("victim", [theirs.fileno(), self._counter])
            theirs.close()
            self.pid = hello(ours, "the victim")
        self._pidfd = pidfd_open(self.pid)
        self._world.undo.callback(os.close, self._pidfd)

    def revive(self) -> None:
        """Start it if it is dead."""
        if not self.alive:
            self.start()

    @property
    def alive(self) -> bool:
        if self._pidfd < 0 or not self._world.alive:
            return False
        return not readable(self._pidfd, 0)

    def ticks(self) -> int:
        """How far it has counted."""
        return int(struct.unpack("Q", os.pread(self._counter, 8, 0))[0])

    def ticking(self, *, within: float = 2.0) -> bool:
        """Does it count on? Looks until it does, or for `within` seconds."""
        before, deadline = self.ticks(), time.monotonic() + within
        while self.ticks() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.ticks() > before

    def rate(self, *, seconds: float = 0.5) -> float:
        """Ticks per second, measured now; unharmed it is nearly 50."""
        before, start = self.ticks(), time.monotonic()
        time.sleep(seconds)
        return (self.ticks() - before) / (time.monotonic() - start)
