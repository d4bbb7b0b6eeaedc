"""Exercises of notebook 01: find a container from outside, its end, its kernel, its files."""

import contextlib
import subprocess
from typing import ClassVar

from labkit.lab.base import find_busybox
from labkit.lab.exercise import Broken, Exercise, NotYet, Skipped
from labkit.lab.exercises.n01_stages import Counter, Family
from labkit.lab.hosttable import look
from labkit.lab.sandbox import Sandbox
from labkit.linux import procfs

BOOT_ID = "/proc/sys/kernel/random/boot_id"
HOSTNAME = "/proc/sys/kernel/hostname"


class Find(Exercise):
    id = "01.1"
    title = "find it from outside"
    minutes = 5
    task = (
        "Two containers run. One has LABEL=... with the value of ex.label in its environment.\n"
        "Set answer to the pid that the host has for its first process."
    )
    hints = (
        "a container is in the host's process table; table() has a line for each process",
        "nspid ends in 1 for a first process, and environ is a dictionary that has the LABEL",
        "[p.pid for p in table().values() if p.nspid[-1] == 1]",
    )
    why = "ps, kill, strace and perf on the host work on every container, with the host's number"

    def start(self) -> None:
        self.label = self.draw.name()
        program = ["sh", "-c", "sleep 1000 & wait"]
        self.box = Sandbox(program, env={"LABEL": self.label})
        self.sibling = Sandbox(program, env={"LABEL": self.draw.name()})

    def verify(self, answer: object) -> str:
        if answer == 1:
            raise NotYet("pid 1 is what it calls itself; the host calls it something else")
        found = look(self.need_process(answer))
        if found.pid == look(self.box.pid).parent:
            raise NotYet("that process is in the host's pid namespace: it is the parent")
        if len(found.nspid) == 1:
            raise NotYet(f"{found.command!r} has one number only: it is in no container")
        if found.environ.get("LABEL") != self.label:
            seen = found.environ.get("LABEL", "none")
            raise NotYet(f"right kind, wrong one: its LABEL is {seen}, not {self.label}")
        if found.nspid[-1] != 1:
            raise NotYet(f"right container, but in there its number is {found.nspid[-1]}, not 1")
        return "it carries the label, and the last number in its NSpid is 1"

    def stop(self) -> None:
        _close(self, "box", "sibling")


_ENDED = {True: "dies", False: "lives"}


class Dies(Exercise):
    id = "01.2"
    title = "what dies with it?"
    minutes = 6
    task = (
        "ex.container is the host's pid of a container's first process. Four others run:\n"
        "  child       started by that first process\n"
        "  grandchild  started by child, in a new session (setsid(2))\n"
        "  joined      started outside, joined the container's pid namespace (setns(2))\n"
        "  neighbour   a process of the host\n"
        'Say "dies" or "lives" for each with ex.predict(...), then kill -9 ex.container.'
    )
    hints = (
        "ask for each of the four in which pid namespace it is; ex.members() shows it",
        "pid_namespaces(7), the paragraph about the init process: what the kernel does at its end",
        'ex.predict(child="dies", ...) and then os.kill(ex.container, signal.SIGKILL)',
    )
    why = "one signal to one process ends a whole container, however its processes hide"
    #: what the kernel does to each of them, and why
    reasons: ClassVar = {
        "child": "it is in the same pid namespace",
        "grandchild": "a new session is not a new namespace",
        "joined": "it was a member: the kernel killed every member",
        "neighbour": "it never was in that pid namespace",
    }

    def start(self) -> None:
        self.said: dict[str, str] | None = None
        self.family = Family()
        self.container = self.family.box.pid

    def members(self) -> dict[str, list[int]]:
        """The numbers that each live one has, from the host inwards."""
        pids = self.family.pids.items()
        return {name: procfs.nspid(pid) for name, pid in pids if not self.family.dead(name)}

    def predict(self, **words: object) -> None:
        """What you say about each of the four, "dies" or "lives"; it counts while all are alive."""
        if missing := [name for name in self.reasons if words.get(name) not in _ENDED.values()]:
            print(f'[not yet] say "dies" or "lives" for: {", ".join(missing)}')
            return
        if ended := [name for name in self.reasons if self.family.dead(name)]:
            print(f"[not yet] too late, {', '.join(ended)} ended before: ex.reset(), then predict")
            return
        self.said = {name: str(words[name]) for name in self.reasons}
        print("[predicted] " + ", ".join(f"{name} {word}" for name, word in self.said.items()))

    def verify(self, answer: object) -> str:
        ended = self.family.ended()
        if self.family.dead("neighbour"):
            raise Broken("the neighbour was ended too: " + self.reasons["neighbour"])
        if self.said is None:
            raise NotYet("nothing was predicted" + (": ex.reset(), then say it" if ended else ""))
        if not ended:
            raise NotYet("the prediction is stored, and the container's first process still runs")
        seen = {name: _ENDED[self.family.dead(name)] for name in self.said}
        wrong = [f"{n} {seen[n]}, {self.reasons[n]}" for n in seen if seen[n] != self.said[n]]
        if wrong:
            raise NotYet("; ".join(wrong) + "; ex.reset() lets you try again")
        return "child, grandchild and joined ended with the container, the neighbour lives"

    def stop(self) -> None:
        _close(self, "family")


class WhoseKernel(Exercise):
    id = "01.3"
    title = "whose kernel?"
    minutes = 5
    task = (
        "A, B and C are the host, a container and a virtual machine, in no order. The container\n"
        "lies: it copied host name and os-release of the virtual machine. ex.read(name, path)\n"
        "reads one file there. Set answer to a dictionary such as\n"
        '{"A": "host", "B": "container", "C": "guest"}.'
    )
    hints = (
        "what does a kernel make new each time it boots, and who can have the same one?",
        f"{BOOT_ID} is the same wherever the same kernel runs; read it here too, with open()",
        f'boots = {{name: ex.read(name, "{BOOT_ID}") for name in "ABC"}}; of the two that share '
        f"it, the one that tells the true host name in {HOSTNAME} is the host",
    )
    why = "names and os-release are text in files; only the kernel says which kernel it is"

    def start(self) -> None:
        vm = self.lab.virtual_machine()
        if not vm.real:
            raise Skipped(f"no guest runs here: {vm.missing}")
        self.box = Sandbox(["sleep", "1000"], hostname=vm.facts.hostname)
        with open(f"{self.box.root}/etc/os-release", "w") as file:
            file.write(vm.guest.read("/etc/os-release"))
        readers = {"host": _read_here, "container": self._read_in_box, "guest": vm.guest.read}
        self.truth = dict(zip("ABC", self.draw.shuffled(list(readers)), strict=True))
        self._readers = {name: readers[kind] for name, kind in self.truth.items()}

    def read(self, name: str, path: str) -> str:
        """The text of a file as "A", "B" or "C" shows it."""
        if name not in self._readers:
            raise NotYet(f"{name!r} is none of A, B, C")
        return self._readers[name](path)

    def _read_in_box(self, path: str) -> str:
        code, text = self.box.run(["cat", "--", path])
        if code:
            raise OSError(text.strip())
        return text

    def verify(self, answer: object) -> str:
        said = self.need(answer, dict)
        if sorted(said) != list("ABC") or set(map(str, said.values())) != set(self.truth.values()):
            raise NotYet("the answer should give A, B and C one of host, container, guest each")
        if not self.box.alive:
            raise Broken("the container has ended")
        guest = next(name for name, kind in said.items() if kind == "guest")
        if self.read(guest, BOOT_ID) == _read_here(BOOT_ID):
            if self.read(guest, HOSTNAME) == _read_here(HOSTNAME):
                raise NotYet(f"{guest} has the boot id of this notebook's kernel: it is no guest")
            raise NotYet(
                f"{guest} has a guest's host name and os-release, and the boot id of this kernel: "
                "a container chooses its own host name, os-release is a file of its image"
            )
        host = next(name for name, kind in said.items() if kind == "host")
        if self.read(host, HOSTNAME) != _read_here(HOSTNAME):
            raise NotYet(
                f"the guest is right. The other two share one kernel, so the boot id cannot tell "
                f"them apart; but {host} has not the host name of this machine"
            )
        return "two of them run on the kernel of this notebook, the guest on one of its own"

    def stop(self) -> None:
        _close(self, "box")


def _read_here(path: str) -> str:
    command = [find_busybox(), "cat", "--", path]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    return done.stdout


FILE = "/etc/hostname"


class GlassWall(Exercise):
    id = "01.4"
    title = "the glass wall"
    minutes = 4
    task = (
        f"The container ex.container (a pid of the host) has written one word into its {FILE}.\n"
        "Set answer to that word, without starting a process in the container."
    )
    hints = (
        "to the host, a container's first process is a process: look at what /proc/PID has",
        "/proc/PID/root is a link to that process's own / (proc(5)); open() follows it",
        'open(f"/proc/{pid}/root/etc/os-release").read() reads another file of it',
    )
    why = "whoever is root on the host reads every container's secrets, and nobody in it can tell"

    def start(self) -> None:
        self.counter, self.sibling = Counter(), Sandbox(["sleep", "1000"])
        self.container = self.counter.box.pid
        self._secret, self._other = self.draw.name(), self.draw.name()
        for box, word in ((self.counter.box, self._secret), (self.sibling, self._other)):
            with open(f"{box.root}{FILE}", "w") as file:
                file.write(f"{word}\n")
        self._expected = self.counter.next_number() + 1

    def verify(self, answer: object) -> str:
        if not self.counter.box.alive or not self.sibling.alive:
            raise Broken("a container was ended: it should not notice that you look")
        said = self.need(answer, str).strip()
        if said == self._other:
            raise NotYet("that is the word of the other container")
        if said == _text(f"{self.lab.instance.base}{FILE}"):
            raise NotYet("that is the file of the image; the container has changed its own copy")
        if said == _text(FILE):
            raise NotYet(f"that is {FILE} of the host, where your own / is")
        if said != self._secret:
            raise NotYet(f"{said!r} is not in that file")
        extra = self.counter.next_number() - self._expected
        self._expected += 1
        if extra:
            entered = "one process was" if extra == 1 else f"{extra} processes were"
            raise NotYet(
                f"the word is right, but {entered} started inside for it; "
                "ex.reset() gives a new word"
            )
        return "the word is right, and the container has not given out a single new pid"

    def stop(self) -> None:
        _close(self, "counter", "sibling")


# ---- what several of them do --------------------------------------------------


def _close(exercise: Exercise, *names: str) -> None:
    for name in names:
        if hasattr(exercise, name):
            getattr(exercise, name).close()


def _text(path: str) -> str:
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        return file.read().strip()
    return ""


EXERCISES = (Find, Dies, WhoseKernel, GlassWall)
