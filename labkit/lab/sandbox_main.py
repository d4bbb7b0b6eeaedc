"""The program that becomes a container: what a Sandbox is, in the order in which it happens.

    helper      spawn: a process in new namespaces ────> first process (pid 1)
       │        move it into its cgroup                  waits
       │        "go" ──────────────────────────────────> unshare cgroup, mounts, pivot_root,
       │                                                 capabilities, exec
       └── waits, tells the exit code

Here: this, and joining a running container (`join`). Not here: the handle that notebooks use
(labkit.lab.sandbox). Every mechanism is a module of layer 1; only their order is here.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import warnings  # noqa: F401 - os.execvpe imports it, and the container's / has no Python

from labkit import cgroups, mounts, namespaces, rootfs
from labkit.errors import InvalidParameter, NotFound
from labkit.lab import child_main
from labkit.lab.child_names import ready_names
from labkit.linux import capabilities
from labkit.linux.constants import Prctl
from labkit.linux.syscalls import prctl, sethostname
from labkit.mounts import Mount
from labkit.namespaces import IdMap
from labkit.overlay import Overlay
from labkit.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Spec:
    """What Sandbox tells, as JSON; paths are those of whoever starts the container."""

    __slots__ = tuple(
        "argv cgroup cwd env hostname kinds lower maps pid root stage timeout".split()
    )

    argv: list[str] | str  #: the program, or Python source to run as it
    kinds: list[str]  #: new namespaces, words of namespaces.KINDS
    hostname: str
    env: dict[str, str]
    cwd: str
    cgroup: str | None  #: name of a group that exists
    maps: list[tuple[int, int, int]]  #: inside, outside, length; for uids and gids
    root: str | None  #: a directory to use as it is, or
    lower: str  #: one to use below an overlay, whose upper layer ends with the container
    stage: str  #: an empty directory to mount that overlay in
    pid: int  #: join only: whose namespaces
    timeout: float  #: join only: seconds

    def __init__(self, fields: "dict[str, Any]") -> None:
        for name, value in fields.items():
            setattr(self, name, value)


# ---- the first process ----------------------------------------------------------


def become(spec: Spec) -> None:
    """From a process in new namespaces to one that is ready to exec the container's program."""
    if spec.maps:
        be_root()
    if "cgroup" in spec.kinds:
        namespaces.unshare(["cgroup"])
    if "uts" in spec.kinds:
        sethostname(spec.hostname)
    if "net" in spec.kinds:
        namespaces.bring_up_lo()
    if "mnt" in spec.kinds:
        change_root(spec)
    drop_capabilities()
    os.chdir(spec.cwd)


def be_root() -> None:
    """Process 1 of a user namespace has its capabilities but, until now, no id that it knows."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def change_root(spec: Spec) -> None:
    mounts.make_private("/")
    root = spec.root or layered(spec)
    if spec.root:
        Mount(root, root, options=["rbind"]).perform()  # pivot_root wants a mount point
    mounts.perform(plan(spec), root)
    rootfs.pivot(root)
    mounts.perform(rootfs.protection_plan())


def layered(spec: Spec) -> str:
    """The base below, a tmpfs on top: what the container writes ends with its mount namespace."""
    Mount("tmpfs", spec.stage, "tmpfs", ["mode=755"]).perform()
    for name in ("upper", "work", "root"):
        os.mkdir(f"{spec.stage}/{name}")
        os.chmod(f"{spec.stage}/{name}", 0o755)
    root = f"{spec.stage}/root"
    upper, work = f"{spec.stage}/upper", f"{spec.stage}/work"
    if spec.maps:  # a user namespace may not write trusted.* attributes, overlayfs.rst
        layers = [f"lowerdir={spec.lower}", f"upperdir={upper}", f"workdir={work}", "userxattr"]
        Mount("overlay", root, "overlay", layers).perform()
    else:
        Overlay([spec.lower], upper, work).perform(root)
    return root


def plan(spec: Spec) -> "list[mounts.Operation]":
    """The default mounts. In a user namespace root does not own the files of the base, so there it
    gets places to write to; and devpts cannot have a group (gid 5) that is not mapped."""
    if not spec.maps:
        return rootfs.default_plan()
    places = [Mount("tmpfs", path, "tmpfs", ["mode=1777"]) for path in ("/tmp", "/run", "/home")]
    return [*map(_without_gid, rootfs.default_plan()), *places]


def _without_gid(step: "mounts.Operation") -> "mounts.Operation":
    if not isinstance(step, Mount):
        return step
    options = [word for word in step.options if not word.startswith("gid=")]
    return Mount(step.source, step.target, step.fstype, options)


def drop_capabilities() -> None:
    """Docker's default set, and nothing that a program could gain by exec.

    The kernel forgets at a change of credentials that we end with our parent, prctl(2).
    """
    keep = capabilities.DOCKER_DEFAULT
    capabilities.apply(capabilities.Sets(effective=keep, permitted=keep, bounding=keep))
    prctl(Prctl.SET_PDEATHSIG, signal.SIGKILL)


def execute(spec: Spec) -> "NoReturn":
    """exec(3), searching the container's PATH; NotFound when the program is not there."""
    for number in (signal.SIGINT, signal.SIGPIPE):  # Python ignores or catches them
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(spec.argv[0], list(spec.argv), spec.env)
    except FileNotFoundError as error:
        raise NotFound(f"no program {spec.argv[0]!r} in the container (exit code 127)") from error
    except PermissionError as error:
        raise InvalidParameter(f"{spec.argv[0]!r} cannot be executed (exit code 126)") from error


# ---- the helper -------------------------------------------------------------------


def start(spec: Spec, sock: socket.socket, output: int) -> None:
    """Start a container, tell {"hello"}, then {} or {"error"}, in the end {"exit": code}."""
    child_main.output_to(output)
    os.close(output)
    kinds = [kind for kind in spec.kinds if kind != "cgroup"]
    maps = [IdMap(*one) for one in spec.maps]
    go, word = os.pipe2(os.O_CLOEXEC)
    problem, told = os.pipe2(os.O_CLOEXEC)
    first = lambda: _first(spec, sock, go, word, told)  # noqa: E731
    with spawn(kinds, first, uid_maps=maps, gid_maps=maps, setgroups=True) as process:
        os.close(told)
        if spec.cgroup:
            cgroups.open(spec.cgroup).add(process.pid)
        os.write(word, b"g")
        with open(problem) as report:
            child_main.send(sock, json.loads(report.read() or "{}"))
        # the other end closes when the notebook kernel is gone: leaving the block kills
        ready, _, _ = select.select([process.pidfd, sock.fileno()], [], [])
        if process.pidfd in ready:
            child_main.send(sock, {"exit": process.wait()})


def _first(spec: Spec, sock: socket.socket, go: int, word: int, told: int) -> int:
    """The new process: exec closes `told`, an error is written to it."""
    try:
        os.close(word)
        child_main.send(sock, {"hello": "container"})
        os.read(go, 1)
        become(spec)
        if isinstance(spec.argv, list):
            execute(spec)
    except Exception as error:
        os.write(told, json.dumps({"error": child_main.describe(error)}).encode())
        return 127
    os.close(told)
    exec(compile(spec.argv, "container", "exec"), ready_names())
    return 0


# ---- a second process in a running container ------------------------------------------


def join(spec: Spec) -> int:
    """Run the program in the namespaces, the cgroup and with the capabilities of spec.pid."""
    if spec.cgroup:
        cgroups.open(spec.cgroup).add()
    namespaces.join(spec.pid)
    if pid := os.fork():  # the pid namespace is for children only
        return _attend(pid, spec.timeout)
    try:
        if spec.maps:
            be_root()
        drop_capabilities()
        os.chdir(spec.cwd)
        execute(spec)
    except Exception as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(127 if isinstance(error, NotFound) else 126)


def _attend(pid: int, timeout: float) -> int:
    """Wait for the program; at SIGALRM, set for the timeout, or SIGTERM end it, and so ourselves.

    It must be reaped by us: as long as its zombie is there, the container's process 1 cannot end.
    """

    def give_up(number: int, _: object) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, give_up)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Arguments: parent's pid or 0, "start" or "join", the Spec; start: the descriptors."""
    join_wanted = sys.argv[2] == "join"
    child_main.die_with(int(sys.argv[1]), signal.SIGTERM if join_wanted else signal.SIGKILL)
    spec = Spec(json.loads(sys.argv[3]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if join_wanted:
        code = join(spec)
        sys.exit(code if code >= 0 else 128 - code)
    sock = socket.socket(fileno=int(sys.argv[4]))
    sock.set_inheritable(False)
    with contextlib.suppress(BrokenPipeError):
        report_errors(spec, sock, int(sys.argv[5]))


def report_errors(spec: Spec, sock: socket.socket, output: int) -> None:
    """start, with what fails before the container exists told to the kernel."""
    try:
        start(spec, sock, output)
    except Exception as error:
        child_main.send(sock, {"error": child_main.describe(error)})
