"""Boot the image with a job and bring back its results.

The job is a tar on a disk: /job.sh and the repository's files at their own path. The results are a
tar on another disk: one line per step in "status", and whatever else the steps wrote. What the
machine prints comes live. It runs on a throw-away view of the image (snapshot=on), so any number
may run at once; when the host's process dies it dies too.
"""

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from labkit.lab import qemu
from labkit.lab.guest import best_accelerator
from labkit.lab.guestline import leashed

PREFIX = "vm | "
MEMORY_MIB = 1536
RESULTS_BYTES = 64 << 20


@dataclass(frozen=True)
class Outcome:
    """statuses: step -> exit status; files: name -> content of everything else that came back."""

    seconds: float
    statuses: dict[str, int] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    timed_out: bool = False


def run(image: Path, script: str, repository: Path, timeout: float) -> Outcome:
    """Boot, run `script` as /job.sh, and return what came back within `timeout` seconds."""
    started = time.monotonic()
    with memory_file("job") as job, memory_file("results") as results:
        write_job(job, script, repository)
        results.truncate(RESULTS_BYTES)
        descriptors = job.fileno(), results.fileno()
        timed_out = boot(command(image, *descriptors), timeout, descriptors)
        seconds = time.monotonic() - started
        results.seek(0)
        return Outcome(seconds, *read_results(results), timed_out)


def memory_file(name: str) -> BinaryIO:
    """memfd_create(2): a file that is gone with its last user, even after SIGKILL."""
    return open(os.memfd_create(name), "r+b")


def command(image: Path, job: int, results: int) -> list[str]:
    """qemu's; the job and the results are descriptors that it inherits."""
    machine, _, console = qemu.MACHINES[os.uname().machine]
    disks = (
        f"{image}/root.img,snapshot=on,cache=unsafe",
        f"/proc/self/fd/{job},readonly=on",
        f"/proc/self/fd/{results},cache=unsafe",
    )
    append = f"console={console} quiet loglevel=3 panic=-1 cgroup_no_v1=all mitigations=off nokaslr"
    return [
        qemu.qemu(), "-nodefaults", "-no-user-config",
        *qemu.processor(best_accelerator(image / "vmlinuz"), numpy=True), "-machine", machine,
        "-smp", "2", "-m", str(MEMORY_MIB), "-display", "none", "-no-reboot", "-serial", "stdio",
        *(word for disk in disks for word in ("-drive", f"if=virtio,format=raw,file={disk}")),
        "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd", "-append", append,
    ]  # fmt: skip


def write_job(file: BinaryIO, script: str, repository: Path) -> None:
    """The tar of one run: tracked files and new ones that git does not ignore, as they are now."""
    git = ["git", "-c", "safe.directory=*"]  # root may run the tests of another user's clone
    listing = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=repository, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("job.sh")
        raw = script.encode()
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
        for name in os.fsdecode(names).split("\0"):
            with contextlib.suppress(FileNotFoundError):  # deleted, but not yet from the index
                if name:
                    archive.add(repository / name, recursive=False)
    file.truncate((file.tell() + 4095) // 4096 * 4096)  # a disk is whole sectors
    file.flush()


def read_results(disk: BinaryIO) -> tuple[dict[str, int], dict[str, bytes]]:
    """The statuses and files of the results disk; both empty when nothing came back."""
    try:
        with tarfile.open(fileobj=disk, mode="r:") as archive:
            members = [member for member in archive if member.isfile()]
            files = {
                member.name.removeprefix("results/"): content.read()
                for member in members
                if (content := archive.extractfile(member))
            }
    except tarfile.ReadError:
        return {}, {}
    lines = files.pop("status", b"").decode().splitlines()
    return {name: int(status) for status, name in (line.split(" ", 1) for line in lines)}, files


def boot(words: list[str], timeout: float, descriptors: Sequence[int] = ()) -> bool:
    """Run qemu, print what it prints, kill it when the time is over; was that so?"""
    process = subprocess.Popen(
        leashed(words), pass_fds=descriptors, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, kill)
    timer.start()
    try:
        for line in process.stdout or ():
            text = line.decode(errors="replace").rstrip()
            if text:
                print(PREFIX + text, flush=True, file=sys.stdout)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    return late.is_set()
