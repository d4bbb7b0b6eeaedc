"""Device programs, verified by the kernel and attached to a real cgroup v2 directory.

This needs the v2 hierarchy, not its controllers: that of a hybrid host will do.
"""

import contextlib
import os
import stat

import pytest

from labkit.linux import bpf, procfs
from labkit.linux.bpf import DeviceRule
from labkit.paths import Instance

pytestmark = pytest.mark.root

DENY_ALL = DeviceRule("a", "rwm", None, None, False)
NULL = DeviceRule("c", "rwm", 1, 3, True)
ZERO_READ = DeviceRule("c", "r", 1, 5, True)

#: joins the cgroup in argv[1], then tells what each use of a device gives
TRY = """
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
uses = {"null rw": ("/dev/null", os.O_RDWR), "zero r": ("/dev/zero", os.O_RDONLY),
        "zero rw": ("/dev/zero", os.O_RDWR), "full r": ("/dev/full", os.O_RDONLY)}
for name, (path, flags) in uses.items():
    try:
        os.close(os.open(path, flags))
        print(name, "ok")
    except PermissionError as error:
        print(name, errno.errorcode[error.errno])
"""


@pytest.fixture
def cgroup():
    """The path of an empty cgroup and its descriptor."""
    roots = [mount.point for mount in procfs.mountinfo() if mount.fstype == "cgroup2"]
    if not roots:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    path = os.path.join(roots[0], Instance().name(f"bpf{os.getpid()}"))
    os.mkdir(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield path, fd
    os.close(fd)
    os.rmdir(path)


def tried(program, path: str) -> dict[str, str]:
    lines = program(TRY, path).stdout.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines)


def test_the_rules_hold_inside_and_not_outside(program, cgroup) -> None:
    path, fd = cgroup
    bpf.attach(fd, bpf.device_program([DENY_ALL, NULL, ZERO_READ]))
    assert tried(program, path) == {
        "null rw": "ok", "zero r": "ok", "zero rw": "EPERM", "full r": "EPERM",
    }  # fmt: skip
    os.close(os.open("/dev/full", os.O_RDONLY))


def test_making_a_node_needs_the_letter_m(program, cgroup, tmp_path) -> None:
    path, fd = cgroup
    bpf.attach(fd, bpf.device_program([DENY_ALL, DeviceRule("c", "m", 1, None, True)]))
    code = """
    with open(sys.argv[1] + "/cgroup.procs", "w") as file:
        file.write("0")
    os.mknod(sys.argv[2] + "/mine", 0o020600, os.makedev(1, 7))
    os.mknod(sys.argv[2] + "/other", 0o020600, os.makedev(5, 7))
    """
    done = program(code, path, str(tmp_path), code_expected=1)
    assert "PermissionError" in done.stderr
    assert stat.S_ISCHR(os.stat(tmp_path / "mine").st_mode)
    assert not (tmp_path / "other").exists()


def test_a_second_program_takes_the_firsts_place(program, cgroup) -> None:
    path, fd = cgroup
    bpf.attach(fd, bpf.device_program([DENY_ALL]))
    (first,) = bpf.attached(fd)
    bpf.attach(fd, bpf.device_program([NULL]))
    (second,) = bpf.attached(fd)
    assert first != second
    assert tried(program, path)["null rw"] == "ok"


def test_detach_gives_every_device_back(program, cgroup) -> None:
    path, fd = cgroup
    bpf.attach(fd, bpf.device_program([]))
    assert set(tried(program, path).values()) == {"EPERM"}
    bpf.detach(fd)
    assert bpf.attached(fd) == []
    assert set(tried(program, path).values()) == {"ok"}
    bpf.detach(fd)


def test_a_child_cannot_allow_what_its_parent_denies(program, cgroup) -> None:
    path, fd = cgroup
    bpf.attach(fd, bpf.device_program([NULL]))
    child = os.path.join(path, "child")
    os.mkdir(child)
    with contextlib.ExitStack() as stack:
        stack.callback(os.rmdir, child)
        child_fd = os.open(child, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, child_fd)
        bpf.attach(child_fd, bpf.device_program([NULL, DeviceRule("c", "r", 1, 7, True)]))
        seen = tried(program, child)
    assert (seen["null rw"], seen["full r"]) == ("ok", "EPERM")


@pytest.mark.parametrize("count", [0, 1, 60, 1000])
def test_the_verifier_takes_lists_of_any_length(count: int) -> None:
    rules = [DENY_ALL, *(DeviceRule("c", "rwm", 1, minor, True) for minor in range(count))]
    os.close(bpf.load(bpf.device_program(rules)))


def test_the_verifiers_reason_is_in_the_error() -> None:
    with pytest.raises(OSError, match="last insn is not an exit"):
        bpf.load(bpf.device_program([])[:-8])


def test_a_directory_that_is_no_cgroup_is_refused(tmp_path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="PROG_QUERY"):
            bpf.attach(fd, bpf.device_program([]))
    finally:
        os.close(fd)


def test_without_privileges_loading_is_refused(program) -> None:
    done = program(
        """
        from labkit.linux import bpf
        os.setgid(65534)
        os.setuid(65534)
        bpf.load(bpf.device_program([]))
        """,
        code_expected=1,
    )
    assert "PermissionError: [Errno 1] Operation not permitted: 'PROG_LOAD'" in done.stderr
