"""The root file system of a World: the host's tree, with a layer on top that takes all writes.

Here: the plan of its mounts, and entering it. Not here: namespaces, and who runs in it
(labkit.lab.world_main).
"""

import json
import os

from labkit import mounts, rootfs
from labkit.linux import procfs
from labkit.mounts import Mount
from labkit.overlay import Overlay

SCRATCH = "/scratch"  #: in the machine only: a tmpfs to work in, fit for upper layers of an overlay
DISK = "/disk"  #: in the machine only: a directory on the file system of $LABKIT_ROOT
KERNEL = "/dev/.kernel"  #: in the machine only: proc and sys without mounts on top, see _kernel()

#: host directories that the machine does not show: it has its own, or none
OWN = ("/proc", "/sys", "/dev", "/run", "/tmp")

#: what stays writable below /proc/sys: the settings that belong to a namespace, namespaces(7)
OWN_SETTINGS = ("net", "kernel/hostname", "kernel/domainname")


class Spec:
    """What the kernel tells: see World._spec, which makes it."""

    __slots__ = ("base", "disk", "group", "keep", "memory_mib", "path", "stage")

    def __init__(self, text: str) -> None:
        for name, value in json.loads(text).items():
            setattr(self, name, value)

    group: str  #: name of the machine's cgroup
    stage: str  #: an empty host directory to assemble the root file system in
    disk: str  #: host directory that is shown at DISK
    keep: list[str]  #: host directories to show even where they lie below OWN
    base: str  #: the busybox root
    memory_mib: int
    path: str  #: the PATH of all children


# ---- the root file system -----------------------------------------------------


def plan(spec: Spec) -> "list[mounts.Operation]":
    """The host's tree with a layer on top that takes all writes, and a kernel view of its own."""
    size = f"size={max(1, spec.memory_mib // 2)}m"
    return [
        *_tree(),
        Mount("tmpfs", "/tmp", "tmpfs", ["mode=1777", size]),
        Mount("tmpfs", "/run", "tmpfs", ["mode=755", size]),
        Mount("tmpfs", SCRATCH, "tmpfs", ["mode=755", size]),
        Mount(spec.disk, DISK, options=["bind"]),
        *_kernel(),
        *(Mount(path, path, options=["bind", "ro"]) for path in spec.keep),
    ]


def _tree() -> list[Mount]:
    """Other file systems of the host, such as /home: an overlay does not cross mounts."""
    points = [mount.point for mount in procfs.mountinfo() if mount.point != "/"]
    shown = dict.fromkeys(point for point in points if not below(point, OWN))
    return [Mount(point, point, options=["bind", "ro"]) for point in shown if os.path.exists(point)]


def below(path: str, directories: "tuple[str, ...]") -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in directories)


def _kernel() -> "list[mounts.Operation]":
    """proc, sys, dev and the cgroups of this machine, which it sees as the root.

    Settings of the whole computer are read-only. The kernel lets a user namespace mount proc or sys
    only where its owner sees one without mounts on top (mount_too_revealing in fs/namespace.c), so
    there is one of each aside.
    """
    settings = [name for name in OWN_SETTINGS if os.path.exists(f"/proc/sys/{name}")]
    return [
        *rootfs.default_plan(),
        Mount("proc", f"{KERNEL}/proc", "proc"),
        Mount("sysfs", f"{KERNEL}/sys", "sysfs"),
        *map(rootfs.Protect, rootfs.READONLY),
        *(Mount(f"/proc/sys/{s}", f"/proc/sys/{s}", options=["bind"]) for s in settings),
        *_cgroups(),
    ]


def _cgroups() -> list[Mount]:
    """Each hierarchy again: mounted inside the cgroup namespace, its root is our machine."""
    found = [mount for mount in procfs.mountinfo() if mount.fstype in ("cgroup", "cgroup2")]
    top = [m for m in found if m.point == "/sys/fs/cgroup"]
    if top:
        return [Mount("cgroup2", "/sys/fs/cgroup", "cgroup2")]
    return [Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", ["mode=755"])] + [
        Mount(mount.fstype, mount.point, mount.fstype, _controllers(mount)) for mount in found
    ]


def _controllers(mount: procfs.MountInfo) -> list[str]:
    """The words that name a hierarchy; its other options cannot be given again."""
    if mount.fstype == "cgroup2":
        return []
    other = ("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods")
    words = [word for word in mount.super_options if word not in other]
    return [word for word in words if not word.startswith("release_agent=")]


def enter_root(spec: Spec) -> None:
    """Assemble it in the stage directory, then make it the root of this mount namespace."""
    mounts.make_private("/")
    operations = plan(spec)
    Mount("tmpfs", spec.stage, "tmpfs", [f"size={max(1, spec.memory_mib // 2)}m"]).perform()
    for name in ("upper", "work", "root"):
        os.mkdir(f"{spec.stage}/{name}")
    root = f"{spec.stage}/root"
    Overlay(["/"], f"{spec.stage}/upper", f"{spec.stage}/work").perform(root)
    mounts.perform(operations, root)
    rootfs.pivot(root)
