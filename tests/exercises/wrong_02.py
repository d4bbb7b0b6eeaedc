"""Wrong answers of notebook 02 and what the check says to them."""

_PRIVATE = 'mount("none", "/", "none", MS_REC | MS_PRIVATE)'
_OUT = (
    'os.chroot("etc")\nfor _ in range(20):\n    os.chdir("..")\nsecret = open("." + canary).read()'
)


def _jail(guarded: str, inmate: str = _OUT) -> str:
    """Both cells of 02.2 as one."""
    return f"world.child('inmate').run({inmate!r})\nworld.child('guarded').run({guarded!r})"


_OWNER = """
from labkit.namespaces import IdMap, write_maps
guest = ex.guest
guest.run("unshare(CLONE_NEWUSER)")
uids, gids = {maps}
write_maps(guest.pid, uids, gids, setgroups=True)
"""
_TAKE_ID = 'guest.run("os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)")\n'
_PROOF = "guest.run(\"open('/scratch/shared/proof', 'w').close()\")\n"
_RIGHT = "[IdMap(0, ex.uid)], [IdMap(0, ex.uid)]"

_DOORS = "doors = {kind: os.open(f'/proc/{target}/ns/{kind}', os.O_RDONLY) for kind in KINDS}\n"
_ALL = 'KINDS = ("uts", "ipc", "net", "cgroup", "pid", "mnt")\n'

WRONG = {
    "02.1": [
        (
            f"%%child alone\nunshare(CLONE_NEWPID | CLONE_NEWNS)\n{_PRIVATE}\n"
            'mount("proc", "/proc", "proc")',
            "not that of the caller: NSpid of `alone` has no new entry",
        ),
        (
            f"%%child alone\nunshare(CLONE_NEWPID | CLONE_NEWNS)\n{_PRIVATE}\n"
            "process = spawn(signal.pause)",
            "a pid namespace of its own, but its /proc still lists",
        ),
        (
            "%%child alone\nunshare(CLONE_NEWPID | CLONE_NEWNS)\n"
            'process = spawn(lambda: (mount("proc", "/proc", "proc"), signal.pause()))',
            "your mount of proc travelled to the bystander",
        ),
        (
            "%%child alone\nunshare(CLONE_NEWPID)\n"
            'process = spawn(lambda: (mount("proc", "/proc", "proc"), signal.pause()))',
            "your mount of proc travelled to the bystander",
        ),
        ("%%child alone\nprocess = spawn(signal.pause)", "its NSpid has no more entries"),
        ("%%child alone\nos.getpid() == 1", "`alone` has started nothing that is still there"),
        (
            f"%%child alone\nunshare(CLONE_NEWPID | CLONE_NEWNS)\n{_PRIVATE}\n"
            'process = spawn(lambda: mount("proc", "/proc", "proc"))',
            "the process you started in the new namespace has already ended",
        ),
    ],
    "02.2": [
        ("%%child inmate\nsecret = 'open sesame'", "the secret of inmate is 'open sesame'"),
        ("%%child inmate\nsecret = ''", "; the / of guarded is still that of the machine"),
        (
            "path = world.child('inmate').eval('canary')\n"
            "word = world.child('b').run(f'print(open({path!r}).read())')\n"
            "world.child('inmate').run(f'secret = {word.strip()!r}')",
            "the canary was opened by a process outside",
        ),
        ("%%child inmate\n" + _OUT, "the / of guarded is still that of the machine"),
        (_jail("os.chroot(jail); os.chdir('/')"), "the same escape still works there"),
        (
            _jail(
                "os.makedirs(jail + '/proc', exist_ok=True)\n"
                "mount('proc', jail + '/proc', 'proc')\n"
                "os.chroot(jail); os.chdir('/')\n"
                "from labkit.linux import capabilities as caps\n"
                "keep = caps.DOCKER_DEFAULT - {caps.Capability.SYS_CHROOT}\n"
                "caps.apply(caps.Sets(effective=keep, permitted=keep, bounding=keep))"
            ),
            "escape blocked, but the old root still lies above its /",
        ),
        (
            _jail(
                f"unshare(CLONE_NEWNS)\n{_PRIVATE}\nmount(jail, jail, 'none', MS_BIND)\n"
                "os.makedirs(jail + '/old', exist_ok=True); os.chdir(jail)\n"
                "pivot_root('.', 'old'); os.chdir('/')"
            ),
            "escape blocked, but the old root is still mounted at /old",
        ),
        (
            _jail(
                f"unshare(CLONE_NEWNS)\n{_PRIVATE}\nmount(jail, jail, 'none', MS_BIND)\n"
                "way_back = os.open('/', os.O_PATH); os.chdir(jail)\n"
                "pivot_root('.', '.'); umount2('.', MNT_DETACH); os.chdir('/')"
            ),
            "escape blocked, but the old root is still reachable through its fd/",
        ),
        (
            _jail(
                f"{_PRIVATE}\nmount(jail, jail, 'none', MS_BIND); os.chdir(jail)\n"
                "pivot_root('.', '.'); umount2('.', MNT_DETACH); os.chdir('/')"
            ),
            "your pivot_root moved the root of everybody",
        ),
    ],
    "02.3": [
        (
            "%%child visitor\nsetns(os.open(f'/proc/{target}/ns/mnt', os.O_RDONLY))\n"
            "setns(os.open(f'/proc/{target}/ns/uts', os.O_RDONLY))",
            "visitor went through mnt first: the /proc behind it does not have the number",
        ),
        (
            f"%%child visitor\n{_ALL}{_DOORS}for door in doors.values(): setns(door)\n"
            "os.execv(tool, [tool])",
            "the tool runs, with a number of the machine",
        ),
        (
            "%%child visitor\nKINDS = ('uts', 'ipc', 'net', 'cgroup', 'pid')\n"
            + _DOORS
            + "text = open(f'/proc/{target}/root{tool}').read()\n"
            "mine = '/scratch/' + os.path.basename(tool)\n"
            "open(mine, 'w').write(text); os.chmod(mine, 0o755)\n"
            "for door in doors.values(): setns(door)\nprocess = spawn(os.execv, mine, [mine])",
            "the tool ran with the root of the machine: that is a copy of it",
        ),
        (
            "%%child visitor\nKINDS = ('pid', 'mnt')\n" + _DOORS + "for door in doors.values(): "
            "setns(door)\nprocess = spawn(os.execv, tool, [tool])",
            "the tool runs there, but with the machine's own",
        ),
        (
            f"%%child visitor\n{_ALL}{_DOORS}for door in doors.values(): setns(door)",
            "visitor has joined uts, ipc, net, cgroup, mnt; nothing called",
        ),
        (
            "ex.box.run(['sh', '-c', ex.visitor.eval('tool') + ' & sleep 0'])",
            "was started by visitor",
        ),
    ],
    "02.4": [
        (
            _OWNER.format(maps="[IdMap(ex.uid, 0)], [IdMap(ex.uid, 0)]") + _PROOF,
            "uid_map says outside 0 is inside",
        ),
        (
            _OWNER.format(maps="[IdMap(0, 0, 4294967295)], [IdMap(0, 0, 4294967295)]") + _PROOF,
            "uid_map maps every id to itself: still the real root",
        ),
        (
            "ex.guest.run(\"open('/scratch/shared/proof', 'w').close()\")\n"
            "ex.guest.run(f\"os.chown('/scratch/shared/proof', {ex.uid}, {ex.uid})\")",
            "guest is in the machine's user namespace",
        ),
        ("ex.guest.run('unshare(CLONE_NEWUSER)')", "its uid_map is empty: nobody is anybody"),
        (_OWNER.format(maps=_RIGHT), "guest has not taken its id"),
        (_OWNER.format(maps=_RIGHT) + _TAKE_ID, "/scratch/shared has no file `proof`"),
        (
            _OWNER.format(maps="[IdMap(0, ex.uid + 1)], [IdMap(0, ex.uid + 1)]")
            + _TAKE_ID
            + _PROOF,
            "uid_map says 0 inside is",
        ),
        (
            _OWNER.format(maps=_RIGHT)
            + _TAKE_ID
            + "world.child('b').run(\"open('/scratch/shared/proof', 'w').close()\")",
            "proof belongs to user 0, not to",
        ),
    ],
    "02.5": [
        ("%%child cradle\npass", "cradle has no function called init"),
        (
            "%%child cradle\ndef init(main):\n    return os.waitpid(main, 0)[1]",
            "zombies remain, of",
        ),
        (
            "%%child cradle\ndef init(main):\n"
            "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
            "    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))\n"
            "    with suppress(ChildProcessError): os.waitpid(main, 0)\n",
            "its exit code is lost",
        ),
        (
            "%%child cradle\ndef init(main):\n"
            "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
            "    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))\n"
            "    return os.waitstatus_to_exitcode(os.waitpid(main, 0)[1])",
            "its exit code is lost; it said: ChildProcessError",
        ),
        (
            "%%child cradle\ndef init(main):\n    while True:\n"
            "        pid, status = os.waitpid(-1, 0)\n"
            "        if pid == main: return os.waitstatus_to_exitcode(status)",
            "TERM had no effect: process 1 has no default handlers",
        ),
        (
            "%%child cradle\ndef init(main):\n"
            "    signal.signal(signal.SIGTERM, lambda *_: None)\n"
            "    while True: os.waitpid(-1, 0)",
            "the program still runs: it has not heard of it",
        ),
        (
            "%%child cradle\ndef init(main):\n"
            "    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))\n"
            "    while True:\n"
            "        with suppress(ChildProcessError): os.waitpid(-1, 0)",
            "the program has ended at TERM, and process 1 goes on without it",
        ),
        ("%%child cradle\ndef init(main):\n    return main.pid", "AttributeError"),
    ],
}
