"""What is on the machine besides files: a picture before, a picture after, and the difference.

    python -m tests.leaks snapshot FILE     write a picture of the whole machine
    python -m tests.leaks compare FILE      exit code 1 and a list when something has been added

tests/conftest.py uses the same functions around each test, with two differences: names count only
with this instance's tag in them, because others may work here too; of processes, all descendants
count. A picture is kind -> list of lines; a line is one object, so two equal ones count twice.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

from labkit.linux import procfs
from labkit.paths import Instance

Picture = dict[str, list[str]]

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETTLE = 5.0  # seconds: killed processes, network namespaces and cgroups go a little later


def mounts() -> list[str]:
    return [f"{m.point} {m.fstype} {m.source} {m.root}" for m in procfs.mountinfo()]


def netns(instance: Instance) -> list[str]:
    found = []
    for directory in ("/run/netns", os.path.join(instance.run, "netns")):
        if os.path.isdir(directory):
            found += [os.path.join(directory, name) for name in os.listdir(directory)]
    return found


def links() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def cgroups() -> list[str]:
    found = []
    for point in {m.point for m in procfs.mountinfo() if m.fstype in ("cgroup", "cgroup2")}:
        for directory, directories, _ in os.walk(point):
            found += [os.path.join(directory, name) for name in directories]
    return found


def nft(*what: str) -> list[str]:
    """`nft list tables` or `ruleset`, a line each; nothing where there is no nft."""
    if shutil.which("nft") is None:
        return []
    done = subprocess.run(["nft", "list", *what], capture_output=True, text=True, check=True)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def descendants(pid: int) -> list[int]:
    """All live processes below `pid`; a zombie is none any more."""
    try:
        below = procfs.children(pid)
    except (ProcessLookupError, FileNotFoundError):
        return []
    return [p for p in below if procfs.alive(p)] + [d for p in below for d in descendants(p)]


def describe(pid: int) -> str | None:
    """A process as a line that stays the same for its whole life, but for exec; None if gone."""
    try:
        command = procfs.read(pid, "cmdline").replace("\0", " ").strip()
        return f"{pid} started {procfs.start_time(pid)}: {command[:200]}"
    except (ProcessLookupError, OSError):
        return None


def carries(pid: int, words: tuple[str, ...]) -> bool:
    """Does one of the words stand in the command line or environment of `pid`?"""
    try:
        text = procfs.read(pid, "cmdline") + "\0" + procfs.read(pid, "environ")
    except (ProcessLookupError, OSError):
        return False
    return any(word in text for word in words)


def ancestors(pid: int) -> list[int]:
    """`pid`, its parent, ... up to the first process."""
    line = []
    while pid:
        line.append(pid)
        pid = int(procfs.status(pid)["PPid"])
    return line


# ---- pictures -----------------------------------------------------------------


def of_instance(instance: Instance) -> Picture:
    """What this instance, and the calling process's descendants, hold now."""

    def tagged(names: list[str]) -> list[str]:
        return [name for name in names if instance.tag in name]

    return {
        "mounts": mounts(),
        "netns": tagged(netns(instance)),
        "links": [name for name in links() if name.startswith(f"lk{instance.tag}")],
        "cgroups": [path for path in cgroups() if f"labkit-{instance.tag}-" in path],
        "nft tables": tagged(nft("tables")),
        "processes": _lines(descendants(os.getpid())),
    }


def of_machine(instance: Instance) -> Picture:
    """Everything; of processes those that know labkit's paths, and descendants of our parent."""
    words = (instance.root, CHECKOUT)
    known = [pid for pid in procfs.pids() if carries(pid, words)]
    ours = set(known) | set(descendants(os.getppid()))
    return {
        "mounts": mounts(),
        "netns": netns(instance),
        "links": links(),
        "cgroups": cgroups(),
        "nft rules": nft("ruleset"),
        "processes": _lines(sorted(ours - set(ancestors(os.getpid())))),
    }


def _lines(pids: list[int]) -> list[str]:
    return [line for pid in pids if (line := describe(pid)) and procfs.alive(pid)]


def added(before: Picture, after: Picture) -> list[str]:
    """What `after` has and `before` has not, as "kind: object"; and mounts that have vanished."""
    found = []
    for kind, lines in after.items():
        if kind == "processes":  # a program that was replaced by exec is still the same process
            old = {line.partition(":")[0] for line in before.get(kind, [])}
            found += [f"{kind}: {line}" for line in lines if line.partition(":")[0] not in old]
            continue
        more = Counter(lines) - Counter(before.get(kind, []))
        found += [f"{kind}: {line}" for line in more.elements()]
    gone = Counter(before.get("mounts", [])) - Counter(after.get("mounts", []))
    return sorted(found) + [f"mounts, unmounted: {line}" for line in gone.elements()]


def settled(before: Picture, look: Callable[[], Picture], seconds: float = SETTLE) -> list[str]:
    """What has been added and does not go by itself within `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := added(before, look())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("snapshot", "compare"):
        print("usage: python -m tests.leaks snapshot|compare FILE", file=sys.stderr)
        return 2
    verb, path = arguments
    instance = Instance()
    if verb == "snapshot":
        with open(path, "w", encoding="utf-8") as file:
            json.dump(of_machine(instance), file, indent=1)
        return 0
    with open(path, encoding="utf-8") as file:
        before = json.load(file)
    left = settled(before, lambda: of_machine(instance), 2 * SETTLE)
    print("\n".join(left) or "nothing was left")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
