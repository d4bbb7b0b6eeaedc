"""Exercises 02.1 and 02.2: a process table and a root of one's own."""

import os
from collections.abc import Callable

from labkit.errors import Unavailable
from labkit.lab import spaces
from labkit.lab.child import Child
from labkit.lab.exercise import Broken, Exercise, NotYet
from labkit.linux import procfs

#: the last line of each task: what a child has unshared it cannot take back
AGAIN = "\nTo try again from the start, run ex.reset(): it makes fresh children."


class Space(Exercise):
    """An exercise that happens in children of the world; the victim must not notice."""

    def start(self) -> None:
        """Whatever an earlier cell did to the machine is mended; its children stay."""
        self.world.mend(keep=True)

    def new_child(self, name: str, **given: object) -> Child:
        """A new child of that name, in which the names of `given` have these values."""
        self.world.child(name).stop()
        child: Child = self.world.child(name)
        for key, value in given.items():
            child.run(f"{key} = {value!r}")
        return child

    def need_unharmed(self, *children: Child) -> None:
        """Broken when the victim does not tick, NotYet when one of the children has ended."""
        if not self.world.victim.ticking():
            raise Broken("the victim does not tick any more")
        for child in children:
            if not child.alive:
                raise NotYet(f"child {child.name!r} has ended; ex.reset() makes a new one")

    def watch(self, look: Callable[[], None]) -> None:
        """Look for two seconds until it is right; a process that ends meanwhile is no damage."""

        def once() -> None:
            try:
                look()
            except ProcessLookupError:
                raise NotYet("the process you started has already ended") from None

        spaces.patiently(once)

    def end(self, *names: str) -> None:
        for name in names:
            if hasattr(self, name):
                getattr(self, name).stop()


class Alone(Space):
    id = "02.1"
    title = "alone in the process table"
    minutes = 6
    task = (
        "In the child `alone`, start a process that sees only itself, and what it starts, in\n"
        "/proc. Leave it running. The mounts of `alone` are shared with a bystander, as they are\n"
        "with others on most machines: the bystander's /proc must stay as it is." + AGAIN
    )
    hints = (
        "two things are shared with the machine, not one: the numbers, and the mount that shows "
        "them",
        "CLONE_NEWPID takes effect in the next child; in a mount namespace whose / is private "
        "that child mounts a new /proc",
        'unshare(CLONE_NEWPID | CLONE_NEWNS); mount("none", "/", "none", MS_REC | MS_PRIVATE); '
        'then spawn(f), where f does mount("proc", "/proc", "proc") and signal.pause()',
    )
    why = (
        "ps in a container is short for this reason: a pid namespace, and a /proc that was mounted "
        "in it"
    )

    def start(self) -> None:
        super().start()
        self.alone = self.new_child("alone")
        self.bystander = spaces.set_apart(self.alone)
        self.before = self._proc_mounts()

    def verify(self, answer: object) -> str:
        self.need_unharmed()
        self.watch(self._look)
        return (
            "its NSpid has one number more, its mounts are its own, its /proc lists only itself "
            "and what it starts; the bystander's /proc is as it was"
        )

    def _look(self) -> None:
        if self._proc_mounts() != self.before:
            raise Broken(
                "your mount of proc travelled to the bystander: the mounts of `alone` were still "
                "tied to the others"
            )
        self.need_unharmed(self.alone)
        process = self._newcomer()
        if procfs.ns_inode(process, "mnt") == procfs.ns_inode(self.bystander, "mnt"):
            raise NotYet(f"it has numbers of its own; {self._strangers(process)}; mounts shared")
        if strangers := self._strangers(process):
            raise NotYet(strangers)

    def _newcomer(self) -> int:
        """The process that the learner started, in a pid namespace of its own."""
        depth = len(procfs.nspid(self.alone.pid))
        found = [one for one in spaces.descendants(self.alone.pid) if one != self.bystander]
        deeper = [one for one in found if len(procfs.nspid(one)) > depth]
        if deeper:
            return deeper[0]
        if self._unshared() and spaces.zombies(self.alone.pid):
            raise NotYet("the process you started in the new namespace has already ended")
        if self._unshared():
            raise NotYet(
                "unshare changed the namespace of the children to come, not that of the caller: "
                "NSpid of `alone` has no new entry, and nobody lives in the new namespace"
            )
        if found:
            raise NotYet(
                "a process was started, but its NSpid has no more entries than its parent's"
            )
        raise NotYet("`alone` has started nothing that is still there")

    def _unshared(self) -> bool:
        path = f"/proc/{self.alone.pid}/ns/pid"
        try:
            return not os.path.samefile(path, f"{path}_for_children")
        except FileNotFoundError:  # after unshare, before the first child
            return True

    def _strangers(self, process: int) -> str:
        more = spaces.listed(process) - len(spaces.members(process))
        if more <= 0:
            return ""
        return f"a pid namespace of its own, but its /proc still lists {more} other processes"

    def _proc_mounts(self) -> int:
        if not procfs.alive(self.bystander):
            raise Broken("the bystander in the mounts of alone is gone")
        mounts = procfs.mountinfo(self.bystander)
        return sum(one.point == "/proc" and one.fstype == "proc" for one in mounts)

    def stop(self) -> None:
        self.end("alone")


JAIL = "/scratch/jail"

#: the classic way out, tried by the check in a copy of the guarded process
_ESCAPE = """
def _result():
    try:
        os.chroot("/etc")
        for _ in range(50):
            os.chdir("..")
        os.chroot(".")
        os.stat(canary)
    except OSError as error:
        return error.errno
    return 0
_code = os.waitstatus_to_exitcode(os.waitpid(spawn(lambda: os._exit(_result())), 0)[1])
"""


class Jail(Space):
    id = "02.2"
    title = "escape the chroot, then close the door"
    minutes = 10
    task = (
        "The child `inmate` has its root at /scratch/jail. Read, from inside it, the file whose\n"
        "path is in its variable `canary`, into a variable `secret`. Then put the child `guarded`\n"
        "into the same directory (its path is in the variable `jail`), in such a way that this\n"
        "escape leads nowhere." + AGAIN
    )
    hints = (
        "the kernel stops a `..` at the root and nowhere else: a directory that lies outside "
        "the root has no such stop, and the working directory may be one",
        "chroot(2) does not change the working directory; pivot_root(2) takes the old root out of "
        "a mount namespace, when umount2(2) follows. It says EINVAL unless the new root is a mount "
        "point (bind the directory on itself) and the mount above it is not shared",
        'inmate: chroot("etc"), then chdir("..") often. guarded: unshare(CLONE_NEWNS), '
        "make / private, bind jail on itself, chdir(jail), pivot_root('.', '.'), "
        "umount2('.', MNT_DETACH), chdir('/')",
    )
    why = (
        "chroot moves one pointer of one process; a container's root is all that its mount table "
        "has"
    )

    def start(self) -> None:
        super().start()
        name, self.nonce = self.draw.name(), self.draw.nonce()
        canary = f"/scratch/{name}.txt"
        self.guarded = self.new_child("guarded", jail=JAIL, canary=canary)
        self.guarded.run(f"os.makedirs({JAIL + '/etc'!r}, exist_ok=True)")
        self.guarded.run(f"open(canary, 'w').write({self.nonce!r})")
        self.inmate = self.new_child("inmate", canary=canary)
        self.bystander = spaces.set_apart(self.guarded)
        self.machine = spaces.place(self.world.pid)
        self.jail = self._place_of_jail()
        self.inmate.run(f"os.chroot({JAIL!r}); os.chdir('/')")

    def _place_of_jail(self) -> spaces.Place:
        found = os.stat(f"/proc/{self.world.pid}/root{JAIL}")
        return found.st_dev, found.st_ino

    def verify(self, answer: object) -> str:
        self.need_unharmed()
        if self._root_of_bystander() != self.machine:
            raise Broken(
                "your pivot_root moved the root of everybody in that mount namespace: it was not "
                "a namespace of your own"
            )
        self.need_unharmed(self.inmate, self.guarded)
        self._both()
        return (
            "inmate read the canary from outside its root; the / of guarded is the top of its "
            "mounts, the old root is not among them, and the same escape finds nothing"
        )

    def _both(self) -> None:
        """NotYet with what is missing in either half."""
        missing = []
        for look in (self._escaped, self._closed):
            try:
                look()
            except NotYet as error:
                missing.append(str(error))
        if missing:
            raise NotYet("; ".join(missing))

    def _root_of_bystander(self) -> spaces.Place | None:
        try:
            return spaces.place(self.bystander)
        except FileNotFoundError:
            raise Broken("the bystander in the mounts of guarded is gone") from None

    def _escaped(self) -> None:
        try:
            word = self.inmate.eval("secret")
        except NameError:
            raise NotYet("inmate has no variable `secret` so far") from None
        if str(word).strip() != self.nonce:
            raise NotYet(f"the secret of inmate is {word!r}; the file says something else")
        if all(spaces.is_below(self.inmate.pid, link, self.jail) for link in ("root", "cwd")):
            raise NotYet(
                "the right word, but inmate is inside its jail, root and working directory: the "
                "canary was opened by a process outside"
            )

    def _closed(self) -> None:
        pid = self.guarded.pid
        root = spaces.place(pid)
        if root == self.machine:
            raise NotYet("the / of guarded is still that of the machine")
        if root != self.jail:
            raise NotYet("the / of guarded is neither the machine's nor the jail")
        if self._escapes():
            raise NotYet("guarded is in the jail, and the same escape still works there")
        for link in ("cwd", *spaces.directories(pid)):
            if not spaces.is_below(pid, link, self.jail):
                raise NotYet(
                    f"escape blocked, but the old root is still reachable through its {link}"
                )
        if len(spaces.above(f"/proc/{pid}/root")) > 1:
            raise NotYet("escape blocked, but the old root still lies above its /")
        if point := self._old_root():
            raise NotYet(f"escape blocked, but the old root is still mounted at {point}")

    def _escapes(self) -> bool:
        try:
            self.guarded.run(_ESCAPE)
        except (OSError, Unavailable) as error:
            raise NotYet(f"guarded cannot be tried: {error}") from None
        return bool(self.guarded.eval("_code") == 0)

    def _old_root(self) -> str:
        """Where guarded's mount table has what is mounted at the machine's /."""
        device = next(one for one in procfs.mountinfo(self.world.pid) if one.point == "/").device
        here = [one.point for one in procfs.mountinfo(self.guarded.pid) if one.device == device]
        return here[0] if here else ""

    def stop(self) -> None:
        self.end("inmate", "guarded")
