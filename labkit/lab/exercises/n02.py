"""Exercises of notebook 02; those about a process table and a root are in n02_apart."""

import contextlib
import os
import signal

from labkit.errors import LabkitError
from labkit.lab import spaces
from labkit.lab.exercise import NotYet
from labkit.lab.exercises.n02_apart import AGAIN, Alone, Jail, Space
from labkit.linux import procfs
from labkit.namespaces import IdMap, read_maps

#: a program that exists in one root only; a script's process goes by the script's name
_TOOL = "#!/bin/sh\nwhile :; do sleep 5; done\n"


class Join(Space):
    id = "02.3"
    title = "join in the right order"
    minutes = 6
    task = (
        "A container runs; its first process has the number `target` in the child `visitor`. A\n"
        "program exists only in the root of that container: its path is in the variable `tool`.\n"
        "From `visitor` start it there, so that it has all namespaces of the container, and leave\n"
        "it running." + AGAIN
    )
    hints = (
        "open all doors before you walk through one: behind mnt there is another /proc",
        "open every /proc/TARGET/ns/* that differs from yours, all of them before the first "
        "setns(2); then the order is free. pid takes effect in the next child",
        'doors = [os.open(f"/proc/{target}/ns/{kind}", os.O_RDONLY) for kind in ("uts", ..., '
        '"mnt")]; setns(door) for each; spawn(os.execv, tool, [tool])',
    )
    why = "docker exec is this: open the doors, walk through them, fork, exec"

    def start(self) -> None:
        super().start()
        self.name = self.draw.name()
        self.box = self.world.sandbox(["sleep", "1000"], hostname=self.draw.name())
        path = f"/usr/local/{self.name}"
        self.box.run(["sh", "-c", f"mkdir -p /usr/local; printf '%b' '{_escaped(_TOOL)}' > {path}"])
        self.box.run(["chmod", "755", path])
        target = spaces.number_at(self.world.pid, self.box.pid)
        self.visitor = self.new_child("visitor", target=target, tool=path)

    def verify(self, answer: object) -> str:
        self.need_unharmed()
        self.watch(self._look)
        return "the tool runs with the root and all namespaces of the container, and a number in it"

    def _look(self) -> None:
        if not self.box.alive:
            raise NotYet("the container has ended; ex.reset() starts one")
        tool = self._tool()
        if not tool:
            raise NotYet(self._how_far())
        theirs, its = self.box.namespaces(), procfs.namespaces(tool)
        if its["pid"] != theirs["pid"] and procfs.ns_inode(tool, "mnt") == theirs["mnt"]:
            raise NotYet(
                "the tool runs, with a number of the machine: setns(2) on a pid namespace "
                "counts for children only"
            )
        if spaces.place(tool) != spaces.place(self.box.pid):
            raise NotYet("the tool ran with the root of the machine: that is a copy of it")
        if missing := [kind for kind in theirs if its[kind] != theirs[kind]]:
            raise NotYet(f"the tool runs there, but with the machine's own {', '.join(missing)}")

    def _tool(self) -> int | None:
        """The process of that name below visitor, or visitor itself."""
        for pid in (*spaces.descendants(self.visitor.pid), self.visitor.pid):
            with contextlib.suppress(ProcessLookupError):
                if procfs.read(pid, "comm").strip() == self.name[:15]:
                    return pid
        return None

    def _how_far(self) -> str:
        self.need_unharmed(self.visitor)
        theirs, its = self.box.namespaces(), self.visitor.namespaces()
        if its["mnt"] == theirs["mnt"] and its["uts"] != theirs["uts"]:
            return (
                "visitor went through mnt first: the /proc behind it does not have the number "
                f"{self.visitor.eval('target')} of the target"
            )
        joined = [
            kind for kind in ("uts", "ipc", "net", "cgroup", "mnt") if its[kind] == theirs[kind]
        ]
        if joined:
            return f"visitor has joined {', '.join(joined)}; nothing called {self.name} runs"
        return f"nothing called {self.name} was started by visitor"

    def stop(self) -> None:
        self.end("visitor")
        if hasattr(self, "box"):
            self.box.close()


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n")


class Owner(Space):
    id = "02.4"
    title = "root that owns nothing"
    minutes = 6
    task = (
        "Put the child ex.guest into a new user namespace, where it is root, but for the machine\n"
        "it is user ex.uid (and group ex.uid). As this root it writes the file `proof` in the\n"
        "directory /scratch/shared." + AGAIN
    )
    hints = (
        "two files and an order: who is who inside is written from outside, after the unshare",
        "labkit.namespaces.write_maps(pid, uid_maps, gid_maps, setgroups=False) writes uid_map "
        "and gid_map; IdMap(inside, outside) is one line of them; then guest must take the id, "
        "setresuid(2)",
        'ex.guest.run("unshare(CLONE_NEWUSER)"); maps = [IdMap(0, ex.uid)]; '
        'write_maps(ex.guest.pid, maps, maps, setgroups=False); ex.guest.run("os.setresgid(0, '
        '0, 0); os.setresuid(0, 0, 0)")',
    )
    why = "a container whose root is nobody outside can lose its walls and still own nothing"

    def start(self) -> None:
        super().start()
        self.uid = self.draw.number(20000, 60000)
        self.guest = self.new_child("guest")
        self.guest.run("sh('rm -rf /scratch/shared; mkdir -m 1777 /scratch/shared')")

    def verify(self, answer: object) -> str:
        self.need_unharmed(self.guest)
        if procfs.ns_inode(self.guest.pid, "user") == self.world.namespaces()["user"]:
            raise NotYet("guest is in the machine's user namespace: its root is the real one")
        for which in ("uid_map", "gid_map"):
            self._check_map(which)
        self._check_ids()
        self._check_proof()
        if self._rules_the_machine():
            raise NotYet("guest can still set the machine's host name: it kept capabilities there")
        return (
            "0 inside is one ordinary user outside, and the proof is this user's; "
            "the kernel refused guest the machine's host name"
        )

    def _check_map(self, which: str) -> None:
        maps = read_maps(self.guest.pid, which)
        if not maps:
            raise NotYet(f"guest has a user namespace, and its {which} is empty: nobody is anybody")
        if maps[0].length > 2**31:
            raise NotYet(f"{which} maps every id to itself: still the real root")
        covers_real = [one for one in maps if one.outside <= 0 < one.outside + one.length]
        if covers_real:
            raise NotYet(f"{which} says outside 0 is inside {_inside(covers_real[0], 0)}")
        if not any(one.inside == 0 and one.outside == self.uid for one in maps):
            first = maps[0]
            raise NotYet(f"{which} says {first.inside} inside is {first.outside} outside")

    def _check_ids(self) -> None:
        for field in ("Uid", "Gid"):
            effective = int(procfs.status(self.guest.pid)[field].split()[1])
            if effective != self.uid:
                raise NotYet(
                    f"the map is right, and guest has not taken its id: its {field} is still "
                    f"{effective} for the machine"
                )

    def _check_proof(self) -> None:
        try:
            found = os.stat(f"/proc/{self.world.pid}/root/scratch/shared/proof")
        except FileNotFoundError:
            raise NotYet("guest is set up; /scratch/shared has no file `proof`") from None
        if found.st_uid != self.uid:
            raise NotYet(f"proof belongs to user {found.st_uid}, not to {self.uid}")
        if found.st_gid != self.uid:
            raise NotYet(f"proof belongs to group {found.st_gid}, not to {self.uid}")

    def _rules_the_machine(self) -> bool:
        try:
            self.guest.run("sethostname(gethostname())")
        except PermissionError:
            return False
        return True

    def stop(self) -> None:
        self.end("guest")


def _inside(one: IdMap, outside: int) -> int:
    return one.inside + outside - one.outside


class Reaper(Space):
    id = "02.5"
    title = "a process 1 that does its job"
    minutes = 8
    task = (
        "In the child `cradle` define init(main). The check runs it as process 1 of a new pid\n"
        "namespace; main is the number of the program that it looks after. The program makes\n"
        "orphans, goes on, and ends at SIGTERM. Your init must reap them all, pass SIGTERM on to\n"
        "the program, and return the exit code of the program when that has ended." + AGAIN
    )
    hints = (
        "who is every orphan's parent, and what must a parent do for a child that has ended?",
        "os.waitpid(-1, 0) waits for any child, os.waitstatus_to_exitcode(status) is the code; a "
        "signal without a handler is not delivered to process 1",
        "signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM)); then, in a "
        "loop, pid, status = os.waitpid(-1, 0) until pid is main",
    )
    why = (
        "this is docker run --init: without it a container collects zombies and ignores docker stop"
    )

    def start(self) -> None:
        super().start()
        self.orphans = self.draw.number(5, 15)
        self.code = self.draw.number(40, 90)
        self.cradle = self.new_child("cradle", code=self.code, orphans=self.orphans)

    def verify(self, answer: object) -> str:
        self.need_unharmed(self.cradle)
        if not self.cradle.eval("callable(globals().get('init'))"):
            raise NotYet("cradle has no function called init so far")
        begin = "from labkit.lab import storm; first = storm.first_process(init, orphans, code)"
        said = self.cradle.run(begin).strip().splitlines()
        try:
            return self._watch(self._first(said))
        finally:
            with contextlib.suppress(LabkitError):
                self.cradle.run("first.close()")

    def _first(self, said: list[str]) -> int:
        """Process 1, in our numbering; NotYet when it has ended already, with its last word."""
        first = spaces.youngest(self.cradle)
        if not procfs.alive(first):
            why = f": {said[-1]}" if said else ""
            raise NotYet(f"process 1 ended before the program did, and took it along{why}")
        return first

    def _watch(self, pid: int) -> str:
        spaces.until(lambda: not spaces.zombies(pid), 1.0)
        if left := spaces.zombies(pid):
            raise NotYet(f"{left} zombies remain, of {self.orphans} orphans")
        spaces.until(lambda: _listens(pid), 1.0)
        with contextlib.suppress(ProcessLookupError):  # it has just ended: its code will tell
            os.kill(pid, signal.SIGTERM)
        if not spaces.until(lambda: not procfs.alive(pid), 2.0):
            raise NotYet(self._survived(pid))
        *said, code = self.cradle.run("print(first.wait(5))").split("\n")[:-1]
        if int(code) != self.code:
            why = f"; it said: {said[-1]}" if said else ""
            raise NotYet(
                f"no zombies, and TERM ended it, but process 1 ended with {code} and the program "
                f"ends with {self.code}: its exit code is lost{why}"
            )
        return "every orphan was reaped, TERM reached the program, and its exit code came out"

    def _survived(self, pid: int) -> str:
        if not _listens(pid):
            return "TERM had no effect: process 1 has no default handlers"
        if not procfs.children(pid):
            return "the program has ended at TERM, and process 1 goes on without it"
        return "process 1 handles TERM, and the program still runs: it has not heard of it"

    def stop(self) -> None:
        self.end("cradle")


def _listens(pid: int) -> bool:
    """Does the process catch SIGTERM, or keep it for sigwait(3)? proc(5)"""
    try:
        status = procfs.status(pid)
    except ProcessLookupError:
        return False
    mask = int(status["SigCgt"], 16) | int(status["SigBlk"], 16)
    return bool(mask >> (signal.SIGTERM - 1) & 1)


EXERCISES = (Alone, Jail, Join, Owner, Reaper)
