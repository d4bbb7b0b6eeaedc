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
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from labkit.lab import qemu
from labkit.lab.guest import best_accelerator

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
    with tempfile.TemporaryDirectory(prefix="labkit-vm-") as directory:
        job, results = Path(directory, "job"), Path(directory, "results")
        write_job(job, script, repository)
        with results.open("wb") as file:
            file.truncate(RESULTS_BYTES)
        timed_out = boot(command(image, job, results), timeout)
        seconds = time.monotonic() - started
        return Outcome(seconds, *read_results(results), timed_out)


def command(image: Path, job: Path, results: Path) -> list[str]:
    machine, _, console = qemu.MACHINES[os.uname().machine]
    disks = (
        f"{image}/root.img,snapshot=on,cache=unsafe",
        f"{job},readonly=on",
        f"{results},cache=unsafe",
    )
    append = f"console={console} quiet loglevel=3 panic=-1 cgroup_no_v1=all mitigations=off nokaslr"
    return [
        "setpriv", "--pdeathsig", "KILL", qemu.qemu(), "-nodefaults", "-no-user-config",
        *qemu.processor(best_accelerator(image / "vmlinuz"), numpy=True), "-machine", machine,
        "-smp", "2", "-m", str(MEMORY_MIB), "-display", "none", "-no-reboot", "-serial", "stdio",
        *(word for disk in disks for word in ("-drive", f"if=virtio,format=raw,file={disk}")),
        "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd", "-append", append,
    ]  # fmt: skip


def write_job(path: Path, script: str, repository: Path) -> None:
    """The tar of one run: tracked files and new ones that git does not ignore, as they are now."""
    git = ["git", "-c", "safe.directory=*"]  # root may run the tests of another user's clone
    listing = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=repository, check=True, capture_output=True).stdout
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("job.sh")
        raw = script.encode()
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
        for name in os.fsdecode(names).split("\0"):
            with contextlib.suppress(FileNotFoundError):  # deleted, but not yet from the index
                if name:
                    archive.add(repository / name, recursive=False)
    with path.open("r+b") as file:  # a disk is whole sectors
        file.truncate((path.stat().st_size + 4095) // 4096 * 4096)


def read_results(path: Path) -> tuple[dict[str, int], dict[str, bytes]]:
    """The statuses and files of the results disk; both empty when nothing came back."""
    try:
        with tarfile.open(path, "r:") as archive:
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


def boot(words: list[str], timeout: float) -> bool:
    """Run qemu, print what it prints, kill it when the time is over; was that so?"""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
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
