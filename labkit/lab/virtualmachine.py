"""The virtual machine of notebook 01: a real guest, or where none can start, what one once said.

    vm = lab.virtual_machine(memory_mib=128)     # returns at once, the guest boots meanwhile
    vm.facts, vm.origin                          # waits; "measured here" or "recorded ..., because"
    vm.run("ps")                                 # None where the facts are recorded

Here: choosing between the two, and saying which it is. The guest: labkit.lab.guest.
"""

from functools import cached_property

from labkit.errors import Unavailable, Unsupported
from labkit.lab import settings
from labkit.lab.guest import Facts, Guest, recorded


class VirtualMachine:
    """One guest of `memory_mib` MiB, started here; `real` is False where the facts are recorded."""

    def __init__(self, memory_mib: int = 128) -> None:
        self.memory_mib = memory_mib
        self.missing = ""  #: why there is no guest
        self._guest: Guest | None = Guest(memory_mib=memory_mib)
        try:
            self._guest.start()
        except Unsupported as error:
            self._guest, self.missing = None, str(error)

    @property
    def real(self) -> bool:
        """Is there a guest that was started here?"""
        return self._guest is not None

    @property
    def alive(self) -> bool:
        """Can it still be asked? Recorded facts always can."""
        return self._guest is None or self._guest.pid is not None

    @property
    def guest(self) -> Guest:
        """The guest, as soon as it takes commands; Unavailable where there is none."""
        if self._guest is None:
            raise Unavailable(f"no guest runs here: {self.missing}")
        self._guest.wait()
        return self._guest

    @cached_property
    def facts(self) -> Facts:
        """What it says about itself: asked once it has booted, or recorded."""
        return self._guest.wait() if self._guest else recorded()

    @property
    def origin(self) -> str:
        """Where the facts come from, in words that a reader must see."""
        because = f"; not measured here, because {self.missing}" if self.missing else ""
        return self.facts.origin + because

    @property
    def label(self) -> str:
        """The same in few words, for pictures."""
        return self.facts.origin if self.real else f"{self.facts.origin}, not here"

    @property
    def pid(self) -> int | None:
        """Of qemu, the process that the host sees; None where there is none."""
        return self._guest.pid if self._guest else None

    def run(self, command: str) -> str | None:
        """The output of a shell command in the guest; None where there is none to ask."""
        return self.guest.run(command) if self.real else None

    def slowdown(self) -> str | None:
        """How much slower the guest computes, for people only: it takes ten seconds under tcg."""
        if not self.real or settings.batch():
            return None
        return f"the same loop takes {self.guest.slowdown()} times as long as on the host"

    def close(self) -> None:
        """End the guest; a second time is no error."""
        if self._guest:
            self._guest.stop()
