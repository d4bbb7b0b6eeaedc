"""Virtual machine against container: the same questions to both, and pictures of what they cost.

All numbers are measured here, the guest's where it can start (labkit.lab.virtualmachine). They go
into pictures and live values; compared text has only what holds on every machine.
"""

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.lab.base import find_busybox
from labkit.lab.card import Card
from labkit.lab.guest import QUESTIONS, Facts
from labkit.lab.sandbox import Sandbox
from labkit.linux import procfs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labkit.lab.chart import Chart
    from labkit.lab.virtualmachine import VirtualMachine

MIB = 1 << 20


# ---- who is there -----------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """What one side says to guest.QUESTIONS."""

    boot_id: str  #: /proc/sys/kernel/random/boot_id: one per boot of one kernel
    release: str  #: uname -r
    hostname: str
    os_name: str  #: PRETTY_NAME of its /etc/os-release
    processes: int  #: directories in its /proc that are a number


def on_host() -> Answers:
    """The host's answers, by the same shell script."""
    command = [find_busybox(), "sh", "-c", QUESTIONS]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return _answers(done.stdout)


def inside(box: Sandbox) -> Answers:
    """The answers of a container: a shell is started in it."""
    _, text = box.run(["sh", "-c", QUESTIONS])
    return _answers(text)


def _answers(text: str) -> Answers:
    boot_id, release, hostname, os_name, processes = text.splitlines()
    return Answers(boot_id, release, hostname, os_name, int(processes))


def aliases(values: Mapping[str, str], word: str) -> dict[str, str]:
    """side -> "kernel#1": equal values get equal aliases, in order of first sight."""
    seen = list(dict.fromkeys(values.values()))
    return {side: f"{word}#{seen.index(value) + 1}" for side, value in values.items()}


def identities(box: Sandbox, vm: "VirtualMachine") -> Card:
    """Who shares what between host, container and guest; the answers themselves are live values."""
    sides: dict[str, Answers | Facts]
    sides = {"host": on_host(), "container": inside(box), "guest": vm.facts}
    rows = {
        "boot_id": ("kernel", {side: who.boot_id for side, who in sides.items()}),
        "os-release": ("system", {side: who.os_name for side, who in sides.items()}),
        "hostname": ("name", {side: who.hostname for side, who in sides.items()}),
    }
    facts = {row: aliases(values, word) for row, (word, values) in rows.items()}
    live = {row: values for row, (_, values) in rows.items()}
    live["uname -r"] = {side: who.release for side, who in sides.items()}
    return Card("who is there", {**facts, "guest": vm.origin}, live)


# ---- what it costs ----------------------------------------------------------


@dataclass(frozen=True)
class Containers:
    """Containers started one after the other, and looked at while all of them were alive."""

    seconds: Sequence[float]  #: from asking for it to its program running, for each
    memory: Sequence[int]  #: bytes of its processes, PSS, for each
    helpers: int  #: bytes of the Python helpers outside that started them, PSS, all together


def start_containers(count: int) -> Containers:
    """Start `count` containers, look, end them."""
    seconds, boxes = [], []
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            began = time.monotonic()
            boxes.append(stack.enter_context(Sandbox(["sleep", "1000"])))
            seconds.append(time.monotonic() - began)
        parents = [int(procfs.status(box.pid)["PPid"]) for box in boxes]
        memory = [pss(box.pid) for box in boxes]
        return Containers(seconds, memory, sum(map(pss, parents)))


def pss(pid: int) -> int:
    """Bytes of memory, a page that n processes share counted as 1/n: proc(5)."""
    text = procfs.read(pid, "smaps_rollup")
    (kib,) = (line.split()[1] for line in text.splitlines() if line.startswith("Pss:"))
    return int(kib) * 1024


def cost_chart(containers: Containers, vm: "VirtualMachine") -> "Chart":
    """Start time and memory of containers and guest, both on a logarithmic scale."""
    from matplotlib.figure import Figure

    from labkit.lab.chart import Chart  # half a second, paid when a picture is drawn

    count, facts = len(containers.seconds), vm.facts
    seconds = {
        "container": statistics.median(containers.seconds),
        "guest": facts.start_to_init,
        "guest, kernel alone": facts.kernel_to_init,
    }
    mib = {
        "container": statistics.median(containers.memory) / MIB,
        f"{count} containers": sum(containers.memory) / MIB,
        "guest": facts.memory / MIB,
    }
    figure = Figure(figsize=(7.0, 4.2), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1)
    _log_bars(above, "until the first program runs", seconds, "s")
    _log_bars(below, "memory of the host in use", mib, "MiB")
    figure.supxlabel(f"container: middle of {count}, measured here; guest: {vm.label}", fontsize=9)
    caption = f"{_bounds(containers, facts)}\nguest: {vm.label}"
    return Chart(figure, caption, alt="container and guest: time and memory")


def _bounds(containers: Containers, facts: Facts) -> str:
    """What holds on every machine, in words."""
    fastest, largest = min(containers.seconds), max(containers.memory)
    sentences = {
        "fastest container: there in less than 5 s": fastest < 5,
        "guest: took longer than that": facts.start_to_init > fastest,
        "each container: less than 4 MiB": largest < 4 * MIB,
        "guest: at least 10 times as much": facts.memory >= 10 * largest,
    }
    return "\n".join(f"{text}: {'yes' if true else 'no'}" for text, true in sentences.items())


def _log_bars(subplot: "Axes", title: str, values: Mapping[str, float], unit: str) -> None:
    """A bar for each value: containers blue, guest orange; each grid line is ten times the last."""
    from labkit.lab.chart import PALETTE

    for index, (name, value) in enumerate(values.items()):
        color = PALETTE["guest" in name]
        subplot.barh(name, value, color=color, height=0.6, zorder=2)
        text = f" {value:.0f} {unit}" if value >= 10 else f" {value:.2g} {unit}"
        subplot.annotate(text, (value, index), va="center", fontsize=9)
    subplot.set_title(title, loc="left", fontsize=11)
    subplot.set_xscale("log")
    subplot.set_xlim(min(values.values()) / 4, max(values.values()) * 6)
    subplot.grid(visible=True, axis="x", color="#dddddd", linewidth=0.6)
    subplot.spines[["top", "right"]].set_visible(False)
    subplot.xaxis.set_major_formatter("{x:g}")
    subplot.set_xlabel(unit)
    subplot.invert_yaxis()


# ---- how it was run ---------------------------------------------------------


def conditions(containers: Containers, vm: "VirtualMachine") -> Card:
    """What one must know to judge the numbers; the raw ones are live values."""
    live = {
        "accelerator": vm.facts.accelerator,
        "slowdown": vm.slowdown(),
        "guest, qemu to init": f"{vm.facts.start_to_init:.1f} s",
        "this machine's own boot": distribution_boot(),
        "helpers outside": f"{containers.helpers / MIB:.0f} MiB for {len(containers.memory)}",
    }
    return Card("how the guest was run", {"numbers": vm.origin}, live)


def distribution_boot() -> str:
    """How long this machine's own boot took, kernel to last service: systemd-analyze(1)."""
    if not os.path.isdir("/run/systemd/system"):
        return "not known: it was not booted by systemd"
    done = subprocess.run(["systemd-analyze", "time"], text=True, capture_output=True, check=False)
    said = done.stdout.splitlines() or done.stderr.splitlines() or ["systemd-analyze says nothing"]
    return said[0].removeprefix("Startup finished in ")
