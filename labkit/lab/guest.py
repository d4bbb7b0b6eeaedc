"""A real virtual machine, small enough to start in the first cell: another kernel to compare with.

    Guest ──start──> qemu ──> kernel ──> /init (busybox sh)
      └───────────── serial line ──────────┘   the protocol is drawn in guestline.py

What is booted comes from guestimage.py. qemu dies with the thread that started it, and the
initramfs is a memfd(2): nothing is left behind even after SIGKILL.

    python -m labkit.lab.guest prepare     kernel image and accelerator (part of make setup)
    python -m labkit.lab.guest measure     boot once and print what recorded() keeps
"""

import contextlib
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

from labkit import store
from labkit.errors import Conflict, InvalidParameter, LabkitError, Unavailable
from labkit.lab.base import find_busybox
from labkit.lab.guestimage import INIT, OS_RELEASE, initramfs, kernel_image, prepare
from labkit.lab.guestline import Line
from labkit.lab.qemu import ACCELERATORS, MACHINES, processor, qemu
from labkit.linux import procfs
from labkit.paths import Instance

#: one line each: boot_id, release, hostname, os_name, processes
QUESTIONS = """cat /proc/sys/kernel/random/boot_id
uname -r
hostname
. /etc/os-release; echo "$PRETTY_NAME"
ls -d /proc/[0-9]* | wc -l"""
#: the loop that host and guest both run, to compare their speed
LOOP = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a guest says about itself when it has reached init; times in seconds."""

    origin: str  #: "measured here", or when and where it was recorded
    accelerator: str  #: "kvm" (the CPU runs the guest) or "tcg" (qemu translates its code)
    boot_id: str  #: /proc/sys/kernel/random/boot_id: one per boot of one kernel
    release: str  #: uname -r
    hostname: str
    os_name: str  #: PRETTY_NAME of its /etc/os-release
    processes: int  #: in its /proc, kernel threads too
    start_to_init: float  #: from starting qemu to the first line of init, by the host's clock
    kernel_to_init: float  #: /proc/uptime at the first act of init, by the guest's clock
    memory: int  #: bytes of the host's memory that qemu costs, PSS of smaps_rollup


class Guest:
    """One guest machine with a kernel of its own; a context manager that starts and stops it.

    files: more files for its file system, absolute path -> content.
    memory_mib: the guest's memory. accelerator: "kvm" or "tcg", None takes the best that works.
    kernel: another image than kernel_image()'s.
    """

    def __init__(
        self,
        *,
        hostname: str = "guest",
        os_release: str = OS_RELEASE,
        files: Mapping[str, bytes] | None = None,
        memory_mib: int = 128,
        accelerator: str | None = None,
        kernel: Path | None = None,
    ) -> None:
        if accelerator not in (None, *ACCELERATORS):
            raise InvalidParameter(f"accelerator must be kvm or tcg, not {accelerator!r}")
        if memory_mib < 64:
            raise InvalidParameter(f"a guest needs at least 64 MiB, not {memory_mib}")
        self._files = {
            "/init": INIT.encode(),
            "/etc/hostname": f"{hostname}\n".encode(),
            "/etc/os-release": os_release.encode(),
            **(files or {}),
        }
        self._memory_mib = memory_mib
        self._accelerator = accelerator
        self._kernel = kernel
        self._line: Line | None = None
        self._init: tuple[float, str] | None = None
        self._facts: Facts | None = None

    # ---- start and stop

    def start(self) -> Self:
        """Start qemu and return at once; wait() tells when it is up.

        Unsupported, with the fix, without qemu or a kernel; Conflict if it was started before.
        """
        if self._line:
            raise Conflict("this guest was started before: make a new Guest()")
        fd = os.memfd_create("initramfs")
        with os.fdopen(fd, "wb") as file:
            file.write(initramfs(self._files))
            file.flush()
            self._line = Line(self._command(f"/proc/self/fd/{fd}"), fd)
        return self

    def _command(self, initrd: str) -> list[str]:
        machine, _, console = MACHINES[os.uname().machine]
        return [
            qemu(), "-nodefaults", "-no-user-config",
            *processor(self.accelerator), "-machine", machine, "-smp", "1",
            "-m", str(self._memory_mib), "-display", "none", "-no-reboot", "-serial", "stdio",
            "-kernel", str(self._kernel or kernel_image()), "-initrd", initrd,
            "-append", f"console={console} quiet loglevel=0 panic=-1",
        ]  # fmt: skip

    def stop(self) -> None:
        """Kill qemu and wait until it is gone; calling it again does nothing."""
        if self._line:
            self._line.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The pid of qemu on the host, None when it does not run."""
        process = self._line and self._line.process
        return process.pid if process and process.poll() is None else None

    @property
    def accelerator(self) -> str:
        """ "kvm" or "tcg"; the first question of this boot of the host may take ten seconds."""
        if self._accelerator is None:
            self._accelerator = best_accelerator(self._kernel)
        return self._accelerator

    def _started(self) -> Line:
        if not self._line:
            raise Conflict("this guest does not run: start() it first")
        return self._line

    # ---- what it says

    def wait(self, timeout: float | None = None) -> Facts:
        """Wait until the guest takes commands and return its facts; later calls repeat them.

        Unavailable when it does not come up within `timeout` seconds, with its last words.
        """
        if self._facts:
            return self._facts
        line = self._started()
        end = time.monotonic() + (timeout or ACCELERATORS[self.accelerator])
        if self._init is None:
            self._init = line.expect("@init", end)
        line.expect("@ready", end)
        arrived, text = self._init
        boot_id, release, hostname, os_name, processes = self.run(QUESTIONS).splitlines()
        self._facts = Facts(
            "measured here", self.accelerator, boot_id, release, hostname, os_name, int(processes),
            start_to_init=round(arrived - line.started, 2),
            kernel_to_init=float(text.split()[1]),
            memory=self.memory(),
        )  # fmt: skip
        return self._facts

    def run(self, command: str, timeout: float = 60.0) -> str:
        """Run `command` by the guest's sh; its output, standard error included.

        subprocess.CalledProcessError when its status is not 0, Unavailable when it does not
        answer in time (such a guest is of no more use: stop it).
        """
        status, text = self._started().ask(command, timeout)
        if status:
            raise subprocess.CalledProcessError(status, command, text)
        return text

    def read(self, path: str) -> str:
        """The text of a file in the guest; OSError with the guest's reason when it cannot be."""
        try:
            return self.run(f"cat -- {shlex.quote(path)}")
        except subprocess.CalledProcessError as error:
            raise OSError(f"in the guest: {error.output.strip()}") from None

    def memory(self) -> int:
        """Bytes of host memory that qemu costs now: its PSS, proc(5)."""
        text = procfs.read(self._started().process.pid, "smaps_rollup")
        (pss,) = (line.split()[1] for line in text.splitlines() if line.startswith("Pss:"))
        return int(pss) * 1024

    def slowdown(self) -> float:
        """How many times longer the same shell loop takes in the guest than on the host."""
        busybox = find_busybox()
        started = time.monotonic()
        subprocess.run([busybox, "sh", "-c", LOOP], check=True)
        here = time.monotonic() - started
        stamps = self.run(f"cat /proc/uptime; {LOOP}; cat /proc/uptime").split()
        return round((float(stamps[2]) - float(stamps[0])) / here, 1)


# ---- the accelerator --------------------------------------------------------


def best_accelerator(kernel: Path | None = None) -> str:
    """ "kvm" if a guest really reaches init with it, else "tcg"; asked once per boot of the host.

    /dev/kvm alone proves nothing: in some clouds it opens and the guest hangs.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    path = os.path.join(Instance().run, "accelerator.json")
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return str(store.read_json(path))
    try:
        with Guest(accelerator="kvm", kernel=kernel) as guest:
            guest.wait()
        found = "kvm"
    except Unavailable:
        found = "tcg"
    with contextlib.suppress(PermissionError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        store.write_json(path, found)
    return found


# ---- recorded data ----------------------------------------------------------


def recorded() -> Facts:
    """Facts of a guest that was measured earlier on another machine: `origin` says when, where."""
    text = resources.files("labkit.lab").joinpath("data", "guest.json").read_text()
    return Facts(**json.loads(text))


def measure() -> Facts:
    """Boot a guest and return its facts, with an origin that suits recorded()."""
    with Guest() as guest:
        facts = guest.wait()
    today, cores = time.strftime("%Y-%m-%d"), os.cpu_count()
    origin = f"recorded {today} on a {cores}-core machine, {facts.accelerator.upper()}"
    return dataclasses.replace(facts, origin=origin)


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["prepare"]:
            prepare()
            print(f"guest accelerator: {best_accelerator()}")
        elif arguments == ["measure"]:
            print(json.dumps(dataclasses.asdict(measure()), indent=1))
        else:
            raise InvalidParameter(f"say prepare or measure, not {' '.join(arguments)!r}")
    except (LabkitError, OSError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
