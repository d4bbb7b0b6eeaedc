"""Control groups, v1 and v2 behind the same few words; cgroups(7).

    with create("labkit-1f2e-web", Limits(memory_max=64 << 20, pids_max=32)) as group:
        group.add(pid)
        group.statistics().memory_current

Which version a machine has is asked here and nowhere else. The words are those of
labkit.cgroups.common.Cgroup; a limit that one version lacks raises Unsupported and names it.
"""

from labkit.cgroups import v1, v2
from labkit.cgroups.common import Cgroup, check_name
from labkit.cgroups.files import ROOT
from labkit.cgroups.limits import IoMax, Limits, Pressure, Statistics, device_of
from labkit.errors import InvalidParameter, NotFound, Unsupported
from labkit.linux import procfs
from labkit.linux.bpf import DeviceRule

__all__ = [
    "Cgroup", "DeviceRule", "IoMax", "Limits", "Pressure", "Statistics",
    "create", "detect", "device_of", "open", "system_pressure",
]  # fmt: skip


def detect(mounts: list[procfs.MountInfo] | None = None) -> str:
    """ "v2" if a cgroup2 file system is mounted at /sys/fs/cgroup, else "v1", hybrid included.

    `mounts` are those of /proc/self/mountinfo if not given. /proc/cgroups is not asked: it lists
    what the kernel was built with, not what is mounted. Raises Unsupported if nothing is mounted.
    """
    mounts = procfs.mountinfo() if mounts is None else mounts
    if v2.is_mounted(mounts):
        return "v2"
    if v1.hierarchies(mounts):
        return "v1"
    raise Unsupported(f"no cgroup file system is mounted at {ROOT} or below it")


def create(name: str, limits: Limits | None = None) -> Cgroup:
    """Make a new group, parents too, and limit it; Conflict if it is there already."""
    group = _group(name)
    group.make(limits)
    return group


def open(name: str) -> Cgroup:
    """A group that exists (on v1: in any hierarchy), else NotFound."""
    group = _group(name)
    if not group.exists:
        raise NotFound(f"no cgroup {name!r}")
    return group


def system_pressure(resource: str) -> Pressure:
    """The whole machine's pressure for "cpu", "memory" or "io", /proc/pressure of proc(5)."""
    if resource not in ("cpu", "memory", "io"):
        raise InvalidParameter(f"pressure is for cpu, memory or io, not {resource!r}")
    try:
        return Pressure.parse(procfs.read("pressure", resource))
    except OSError as error:  # not built in, or switched off: EOPNOTSUPP
        raise Unsupported(
            f"this kernel does not measure pressure, boot it with psi=1: {error}"
        ) from error


def _group(name: str) -> Cgroup:
    check_name(name)
    mounts = procfs.mountinfo()
    if detect(mounts) == "v2":
        return v2.Group(name)
    return v1.Group(name, v1.hierarchies(mounts))
