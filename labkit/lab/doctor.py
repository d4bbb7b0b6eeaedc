"""The doctor: a table of guards. Each looks at one need of the kit and names its fix.

A finding is "ok", "fix" (the notebooks need it) or "note" (something optional is missing, and the
sentence says what will not work). `labkit doctor` prints all; a notebook shows diagnose().card().
"""

import argparse
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit.errors import LabkitError
from labkit.lab.card import Card
from labkit.lab.leftovers import leftovers
from labkit.lab.machine import Machine
from labkit.linux import procfs
from labkit.paths import Instance

#: what a probe found: is it well, and what was seen
Seen = tuple[bool, str]

MIB = 1 << 20
ROOT_BYTES, RUN_BYTES, INODES = 1024 * MIB, 16 * MIB, 10_000
PORT = 8888


@dataclass(frozen=True)
class Guard:
    """One need: its name, how to look, the fix in one sentence, and whether it can be missing."""

    name: str
    probe: Callable[[Machine], Seen]
    fix: str
    optional: bool = False


@dataclass(frozen=True)
class Finding:
    guard: Guard
    ok: bool
    saw: str

    @property
    def state(self) -> str:
        return "ok" if self.ok else "note" if self.guard.optional else "fix"

    def __str__(self) -> str:
        line = f"[{self.state}] {self.guard.name}: {self.saw}"
        return line if self.ok else f"{line}\n    {self.guard.fix}"


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order of the table."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        return not self.to_fix

    @property
    def to_fix(self) -> list[str]:
        return [finding.guard.name for finding in self.findings if finding.state == "fix"]

    @property
    def text(self) -> str:
        last = "the machine is ready" if self.ready else f"to fix: {', '.join(self.to_fix)}"
        return "\n".join([*map(str, self.findings), last])

    def card(self) -> Card:
        """Compared: what is to fix. Shown besides: all findings, which differ between machines."""
        facts = {"ready": self.ready, "to fix": self.to_fix}
        return Card("doctor", facts, live={f.guard.name: _shown(f) for f in self.findings})

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        return self.card()._repr_mimebundle_()


def _shown(finding: Finding) -> str:
    return str(finding).replace(f"] {finding.guard.name}:", "]")


def diagnose(machine: Machine | None = None, guards: Sequence[Guard] | None = None) -> Diagnosis:
    """Ask every guard; one that cannot look has found what stopped it."""
    machine = machine or Machine()
    return Diagnosis(tuple(_ask(guard, machine) for guard in (guards or GUARDS)))


def _ask(guard: Guard, machine: Machine) -> Finding:
    try:
        ok, saw = guard.probe(machine)
    except (OSError, LabkitError) as error:
        ok, saw = False, str(error)
    return Finding(guard, ok, saw)


# ---- probes ------------------------------------------------------------------


def root(machine: Machine) -> Seen:
    return machine.uid() == 0, f"user id {machine.uid()}"


def python(machine: Machine) -> Seen:
    return machine.python() >= (3, 11), ".".join(map(str, machine.python()))


def namespace_kinds(machine: Machine) -> Seen:
    missing = [kind for kind in procfs.NAMESPACES if kind not in machine.namespaces()]
    return not missing, f"missing: {', '.join(missing)}" if missing else "all eight kinds"


def overlay(machine: Machine) -> Seen:
    known = "overlay" in (machine.text("/proc/filesystems") or "").split()
    return known, "known to the kernel" if known else "not in /proc/filesystems"


def overlay_upper(machine: Machine) -> Seen:
    place = machine.existing(machine.instance.root)
    seen = f"{machine.file_system(place)} at {machine.instance.root}"
    obstacle = machine.upper_obstacle(place)
    return not obstacle, obstacle or seen


def pidfd(machine: Machine) -> Seen:
    has = machine.has_syscall("pidfd_open")
    return has, "pidfd_open(2)" if has else "no pidfd_open(2)"


def mount_interface(machine: Machine) -> Seen:
    has = machine.has_syscall("fsopen")
    return has, "fsopen(2)" if has else "no fsopen(2)"


def seccomp(machine: Machine) -> Seen:
    actions = machine.text("/proc/sys/kernel/seccomp/actions_avail") or ""
    return "errno" in actions.split(), actions or "no seccomp filters"


def controllers(machine: Machine) -> Seen:
    version, found = machine.cgroups()
    missing = sorted({"memory", "cpu", "pids"} - found)
    return not missing, f"{version}: {', '.join(missing or sorted(found))}" + (
        " missing" if missing else ""
    )


def unified(machine: Machine) -> Seen:
    version, _ = machine.cgroups()
    return version == "v2", version


def user_namespaces(machine: Machine) -> Seen:
    limit = machine.text("/proc/sys/user/max_user_namespaces") or "0"
    return int(limit) > 0, f"max_user_namespaces is {limit}"


def unprivileged(machine: Machine) -> Seen:
    """Debian's own switch; kernels without it have the file not."""
    value = machine.text("/proc/sys/kernel/unprivileged_userns_clone")
    return value != "0", "allowed" if value != "0" else "unprivileged_userns_clone is 0"


def apparmor(machine: Machine) -> Seen:
    value = machine.text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    return value in (None, "0"), "no block" if value in (None, "0") else "AppArmor blocks them"


def disk(machine: Machine) -> Seen:
    return _space(machine, machine.instance.root, ROOT_BYTES)


def run_directory(machine: Machine) -> Seen:
    return _space(machine, machine.instance.run, RUN_BYTES)


def _space(machine: Machine, path: str, needed: int) -> Seen:
    free, inodes = machine.space(machine.existing(path))
    counted = "" if inodes is None else f", {inodes} inodes"
    enough = free >= needed and (inodes is None or inodes >= INODES)
    return enough, f"{free // MIB} MiB{counted} free at {path}, needed {needed // MIB} MiB"


def kernel_leftovers(machine: Machine) -> Seen:
    found = leftovers(machine.instance)
    return not found, "; ".join(map(str, found)) or "none"


def busybox(machine: Machine) -> Seen:
    return _tools(machine, "busybox")


def network_tools(machine: Machine) -> Seen:
    return _tools(machine, "ip", "nft")


def qemu(machine: Machine) -> Seen:
    name = {"aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine(), "x86_64")
    return _tools(machine, f"qemu-system-{name}")


def _tools(machine: Machine, *names: str) -> Seen:
    missing = [name for name in names if not machine.tool(name)]
    return not missing, f"not found: {', '.join(missing)}" if missing else ", ".join(names)


def base(machine: Machine) -> Seen:
    path = f"{machine.instance.base}/bin/busybox"
    built = machine.is_file(path)
    return built, machine.instance.base if built else f"no {path}"


def port(machine: Machine) -> Seen:
    free = machine.port_is_free(PORT)
    return free, f"{PORT} is free" if free else f"{PORT} is in use"


#: in the order in which a person would fix things
GUARDS = (
    Guard("root", root, "run `sudo make lab`: the notebooks make namespaces and mounts as root"),
    Guard("python", python, "install Python 3.11 or newer and run `make setup` again"),
    Guard(
        "namespaces",
        namespace_kinds,
        "boot a distribution's kernel, 5.6 or newer, with all CONFIG_*_NS options",
    ),
    Guard("overlay", overlay, "run `modprobe overlay` as root"),
    Guard(
        "overlay upper",
        overlay_upper,
        "set LABKIT_ROOT to a folder on ext4, xfs, btrfs or tmpfs, not on an overlay or a share",
    ),
    Guard("pidfd", pidfd, "boot a kernel 5.3 or newer"),
    Guard("mount interface", mount_interface, "boot a kernel 5.2 or newer"),
    Guard("seccomp", seccomp, "boot a kernel with CONFIG_SECCOMP_FILTER", optional=True),
    Guard(
        "cgroup controllers",
        controllers,
        "boot with cgroup_enable=memory, or mount the controllers that are named as missing",
    ),
    Guard(
        "cgroup v2",
        unified,
        "cells marked needs:cgroup2 are skipped; boot with systemd.unified_cgroup_hierarchy=1",
        optional=True,
    ),
    Guard(
        "user namespaces", user_namespaces, "run `sysctl user.max_user_namespaces=15000` as root"
    ),
    Guard(
        "unprivileged user namespaces",
        unprivileged,
        "run `sysctl kernel.unprivileged_userns_clone=1` as root to try them without root",
        optional=True,
    ),
    Guard(
        "AppArmor and user namespaces",
        apparmor,
        "run `sysctl kernel.apparmor_restrict_unprivileged_userns=0` to try them without root",
        optional=True,
    ),
    Guard("disk", disk, "free some space, or set LABKIT_ROOT to a larger disk"),
    Guard("run directory", run_directory, "free some space there, or set LABKIT_RUN"),
    Guard("leftovers", kernel_leftovers, "run `labkit reset`; what it does not know is yours"),
    Guard("busybox", busybox, "run `make setup`: it installs the package busybox-static"),
    Guard("base file system", base, "run `make setup`: it builds the base from busybox"),
    Guard(
        "network tools",
        network_tools,
        "run `make setup`: it installs iproute2 and nftables",
        optional=True,
    ),
    Guard(
        "qemu",
        qemu,
        "notebook 01 uses recorded data; install the package qemu-system to boot a real guest",
        optional=True,
    ),
    Guard(
        "port",
        port,
        "fine if it is your JupyterLab; else stop what listens there before `make lab`",
        optional=True,
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """`labkit doctor`: 0 when the machine is ready, 1 when something is to fix."""
    parser = argparse.ArgumentParser(
        prog="labkit doctor", description="Look at this machine; each guard names its fix."
    )
    parser.parse_args(arguments)
    diagnosis = diagnose(Machine(Instance()))
    print(diagnosis.text)
    return 0 if diagnosis.ready else 1
