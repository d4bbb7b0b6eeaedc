"""What a cell may need from the machine, and how to find out whether it is there.

A cell with the tag "needs:NAME" starts with the line `%%needs NAME`, which the build writes. Where
the need is met the line vanishes before the cell runs; where it is not, the cell becomes one
print of "skipped, because ...". It is an IPython input transformer and not a cell magic, so that
the rest of the cell may begin with a magic of its own. nbval skips such cells by their tag.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from labkit.errors import InvalidParameter, Unsupported

TAG = "needs:"
#: a cell with this tag always runs; without the need it shows recorded data and is not compared
RECORDED = "recorded:"
MAGIC = "%%needs"

#: needs that no machine is made to have: a skip for them is never an error
OPTIONAL = ("cgroup2", "kvm")


def _root() -> bool:
    return os.geteuid() == 0


def _cgroup2() -> bool:
    from labkit import cgroups

    return cgroups.detect() == "v2"


def _qemu() -> bool:
    """qemu, and a kernel that it can boot."""
    from labkit.lab.guestimage import kernel_image
    from labkit.lab.qemu import qemu

    try:
        return bool(qemu() and kernel_image())
    except Unsupported:
        return False


def _docker() -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        answers = client.connect_ex("/var/run/docker.sock") == 0
    return answers and shutil.which("docker") is not None


def _kvm() -> bool:
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


#: need -> (is it met?, what is said when it is not)
PROBES: dict[str, tuple[Callable[[], bool], str]] = {
    "root": (_root, "this needs root"),
    "cgroup2": (_cgroup2, "this machine has no cgroup v2 hierarchy with controllers"),
    "qemu": (_qemu, "no virtual machine can be started here: run sudo make setup"),
    "kvm": (_kvm, "there is no usable /dev/kvm"),
    "docker": (_docker, "no docker daemon answers"),
    "podman": (_program("podman"), "podman is not installed"),
    "runc": (_program("runc"), "runc is not installed"),
    "bwrap": (_program("bwrap"), "bwrap is not installed"),
}


def known(names: Iterable[str]) -> None:
    """InvalidParameter if one of `names` has no probe."""
    for name in names:
        if name not in PROBES:
            raise InvalidParameter(f"no need is called {name!r}, only {', '.join(PROBES)}")


def lacking(names: Iterable[str]) -> list[str]:
    """Those of `names` that this machine does not meet."""
    names = list(names)
    known(names)
    return [name for name in names if not PROBES[name][0]()]


def because(names: Iterable[str]) -> str:
    """The sentence for needs that are not met."""
    return "skipped, because " + " and ".join(PROBES[name][1] for name in names)


def of_tags(tags: Sequence[str], prefix: str = TAG) -> list[str]:
    """The needs among a cell's tags."""
    return [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)]


def guard(lines: list[str]) -> list[str]:
    """The cell as IPython shall run it; `lines` keep their line ends."""
    if not lines or lines[0].split()[:1] != [MAGIC]:
        return lines
    missing = lacking(lines[0].split()[1:])
    return [f"print({because(missing)!r})\n"] if missing else lines[1:]


def register(shell: Any) -> None:
    """Let `shell`, an InteractiveShell, understand %%needs; twice is the same as once."""
    transformers = shell.input_transformers_cleanup
    if guard not in transformers:
        transformers.append(guard)
