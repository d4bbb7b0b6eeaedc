"""Leftovers on purpose: what a killed program leaves, and a neighbour that must not be harmed.

For notebook 00 only, which teaches doctor and reset on them. Both are separate programs that keep a
ledger of their own, as every notebook does. Each makes cgroups with the kit's helper; then one is
ended by SIGKILL before it can clean up, and the other one lives on.
"""

import atexit
import subprocess
import sys

from labkit import cgroups
from labkit.errors import NotFound, Unavailable
from labkit.lab import ledger
from labkit.lab.reset import kill_process, reset
from labkit.paths import Instance

#: the program: make groups NAME..., say so, live until standard input ends
_PROGRAM = """
import sys
from labkit import cgroups
from labkit.lab.ledger import Ledger
from labkit.linux.constants import Prctl
from labkit.linux.syscalls import prctl
from labkit.paths import Instance
prctl(Prctl.SET_PDEATHSIG, 9)
owner, *names = sys.argv[1:]
instance = Instance()
notes = Ledger(instance, owner)
for name in names:
    cgroups.create(notes.record("cgroup", instance.name(name)))
print("made", flush=True)
sys.stdin.read()
"""


def companion(source: str, *arguments: str) -> "tuple[subprocess.Popen[str], str]":
    """A Python program beside this kernel, out of reach of its interrupts, and its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline() if process.stdout else ""


class Neighbour:
    """Another program that uses the kit: `owner` in the ledger, one cgroup for each name.

    One that has the same owner, from an earlier run of the cell, is ended first.
    """

    def __init__(self, instance: Instance, owner: str, names: list[str]) -> None:
        self.instance, self.owner = instance, owner
        end_earlier(instance, owner)
        self.groups = [instance.name(name) for name in names]
        self.process, answer = companion(_PROGRAM, owner, *names)
        atexit.register(self.close)
        if answer != "made\n":
            self.close()
            raise Unavailable(f"{owner} could not make its groups: {', '.join(self.groups)}")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def present(self) -> list[str]:
        """Those of its groups that the kernel still has."""
        return [name for name in self.groups if exists(name)]

    def die(self) -> None:
        """SIGKILL: no chance to clean up."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it and remove what it made; also when others have done so already."""
        self.die()
        self.process.communicate()
        reset(self.instance, self.owner)
        for name in self.present():  # somebody deleted the note and not the group
            with cgroups.open(name):
                pass


def end_earlier(instance: Instance, owner: str) -> None:
    """Kill the program that keeps this owner's ledger, if it lives, and remove what it made."""
    record = ledger.read(ledger.path_of(instance, owner))
    if record and record.alive:
        kill_process(f"{record.pid}:{record.started}")
    reset(instance, owner)


def exists(name: str) -> bool:
    """Does the kernel have a cgroup of that name?"""
    try:
        cgroups.open(name)
    except NotFound:
        return False
    return True


def noted(instance: Instance, owner: str) -> bool:
    """Does a ledger file of that owner name anything?"""
    record = ledger.read(ledger.path_of(instance, owner))
    return bool(record and record.entries)
