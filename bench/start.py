#!/usr/bin/env python3
"""How long it takes to start something, side by side: one sample of each row in every round.

    sudo .venv/bin/python bench/start.py [ROUNDS]

Rows are whole actions, from the call to the known end. Machines are noisy: compare ratios within
one run, and look at the load average printed beside it. Tools that are not here have no row.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from labkit.lab import base
from labkit.lab.sandbox import Sandbox
from labkit.lab.world import World
from labkit.paths import Instance

Action = Callable[[], object]

LAYER_1 = "from labkit import cgroups, mounts, namespaces, overlay, rootfs, spawn, terminal"


def program(*argv: str) -> Action:
    return lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def sandbox() -> None:
    with Sandbox(["true"]) as box:
        box.wait()


def world() -> None:
    World("bench").close()


@contextlib.contextmanager
def actions() -> Iterator[dict[str, Action]]:
    """Name -> action; what they need is there while the block runs."""
    instance = Instance()
    root = base.ensure(instance)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    layer_1 = f"import sys; sys.path.insert(0, {package!r}); {LAYER_1}"
    with tempfile.TemporaryDirectory() as bundle, World("bench-child") as machine:
        names = iter(range(10**6))
        found = {
            "true(1), spawned": program("true"),
            "python -I -S": program(sys.executable, "-I", "-S", "-c", "pass"),
            "python -I -S, layers 0 and 1": program(sys.executable, "-I", "-S", "-c", layer_1),
            "unshare(1), six namespaces": program("unshare", "-muinpfC", "true"),
            "a child in a running world": lambda: machine.child(f"c{next(names)}").stop(),
            "a sandbox, start to exit": sandbox,
            "a world, start to end": world,
        }
        if shutil.which("bwrap"):
            found["bwrap --unshare-all"] = program(
                "bwrap", "--unshare-all", "--bind", root, "/", "/bin/true"
            )
        if shutil.which("runc"):
            write_bundle(bundle, root)
            found["runc run"] = program("runc", "run", "-b", bundle, f"labkit-bench-{os.getpid()}")
        yield found


def write_bundle(bundle: str, root: str) -> None:
    """runc's own example, on the base file system, without a terminal."""
    subprocess.run(["runc", "spec", "-b", bundle], check=True)
    path = os.path.join(bundle, "config.json")
    with open(path) as file:
        config = json.load(file)
    config["process"] |= {"args": ["/bin/true"], "terminal": False}
    config["root"] = {"path": root, "readonly": True}
    with open(path, "w") as file:
        json.dump(config, file)


def measure(found: dict[str, Action], rounds: int) -> dict[str, list[float]]:
    """Name -> milliseconds, one for each round; a first round is not counted."""
    samples: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds + 1):
        for name, action in found.items():
            began = time.perf_counter()
            action()
            if number:
                samples[name].append((time.perf_counter() - began) * 1000)
    return samples


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with actions() as found:
        samples = measure(found, rounds)
    print(f"kernel {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    print(f"{'milliseconds, ' + str(rounds) + ' rounds':32}{'median':>9}{'min':>9}")
    for name, values in sorted(samples.items(), key=lambda item: statistics.median(item[1])):
        print(f"{name:32}{statistics.median(values):9.1f}{min(values):9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
