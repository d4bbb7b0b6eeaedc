"""The wrappers against the kernel, each in a process of its own."""

import os

import pytest

pytestmark = pytest.mark.root

#: a mount namespace with a tmpfs at /mnt, of which nothing leaks out
OWN_MOUNTS = """
syscalls.unshare(CloneFlag.NEWNS)
syscalls.mount("", "/", "", MountFlag.REC | MountFlag.PRIVATE)
syscalls.mount("none", "/mnt", "tmpfs", MountFlag.NODEV, "size=1m")
def visible(point):
    return [mount for mount in procfs.mountinfo() if mount.point == point]
"""


def test_unshare_gives_a_host_name_of_its_own(program) -> None:
    program("""
        before = procfs.ns_inode("self", "uts")
        syscalls.unshare(CloneFlag.NEWUTS)
        syscalls.sethostname("mars")
        syscalls.setdomainname("solar")
        assert procfs.ns_inode("self", "uts") != before
        assert os.uname().nodename == "mars"
        assert procfs.read("sys/kernel", "domainname") == "solar\\n"
    """)
    assert os.uname().nodename != "mars"


def test_mount_takes_none_where_the_man_page_has_null(program) -> None:
    program("""
        syscalls.unshare(CloneFlag.NEWNS)
        syscalls.mount(None, "/", None, MountFlag.REC | MountFlag.PRIVATE)
        syscalls.mount("none", "/mnt", "tmpfs")
        syscalls.mount("/mnt", "/mnt", None, MountFlag.BIND, None)
        points = [one.point for one in procfs.mountinfo()]
        assert points.count("/mnt") == 2, points
    """)


def test_setns_goes_back_to_the_first_namespace(program) -> None:
    program("""
        first = procfs.ns_inode("self", "uts")
        fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
        syscalls.unshare(CloneFlag.NEWUTS)
        syscalls.setns(fd, CloneFlag.NEWUTS)
        assert procfs.ns_inode("self", "uts") == first
    """)


def test_setns_refuses_another_kind_of_namespace(program) -> None:
    done = program(
        """
        fd = os.open("/proc/self/ns/uts", os.O_RDONLY)
        syscalls.setns(fd, CloneFlag.NEWNET)
        """,
        code_expected=1,
    )
    assert "OSError: [Errno 22] Invalid argument: 'fd 3'" in done.stderr


def test_mount_takes_flags_and_data(program) -> None:
    program(
        OWN_MOUNTS
        + """
mount, = visible("/mnt")
assert mount.fstype == "tmpfs" and "nodev" in mount.options and "size=1024k" in mount.super_options
syscalls.umount2("/mnt", UmountFlag.DETACH)
assert not visible("/mnt")
"""
    )
    assert not os.path.ismount("/mnt")


def test_pivot_root_swaps_the_root(program) -> None:
    program(
        OWN_MOUNTS
        + """
os.mkdir("/mnt/old")
syscalls.pivot_root("/mnt", "/mnt/old")
os.chdir("/")
assert os.listdir("/") == ["old"] and "etc" in os.listdir("/old")
"""
    )


def test_pivot_root_names_the_root_it_refused(program) -> None:
    done = program(OWN_MOUNTS + """
os.mkdir("/mnt/plain")
syscalls.pivot_root("/mnt/plain", "/mnt/plain")
""", code_expected=1)  # fmt: skip
    assert "OSError: [Errno 16] Device or resource busy: '/mnt/plain'" in done.stderr or (
        "OSError: [Errno 22] Invalid argument: '/mnt/plain'" in done.stderr
    )


def test_a_mount_is_copied_changed_and_put_elsewhere(program) -> None:
    program(
        OWN_MOUNTS
        + """
os.mkdir("/mnt/a"); os.mkdir("/mnt/b")
tree = syscalls.open_tree(At.FDCWD, "/mnt/a", OpenTree.CLONE | OpenTree.CLOEXEC)
attributes = syscalls.MountAttributes(attr_set=MountAttr.RDONLY)
syscalls.mount_setattr(tree, "", At.EMPTY_PATH | At.RECURSIVE, attributes)
syscalls.move_mount(tree, "", At.FDCWD, "/mnt/b", MoveMount.F_EMPTY_PATH)
mount, = visible("/mnt/b")
assert "ro" in mount.options and mount.root == "/a"
try:
    open("/mnt/b/file", "w")
except OSError as error:
    assert error.errno == errno.EROFS
else:
    raise SystemExit("a read-only mount was written to")
open("/mnt/a/file", "w").close()
"""
    )


def test_a_file_system_is_made_from_parameters(program) -> None:
    program(
        OWN_MOUNTS
        + """
fs = syscalls.fsopen("tmpfs")
syscalls.fsconfig(fs, FsConfig.SET_STRING, "size", "64k")
syscalls.fsconfig(fs, FsConfig.CMD_CREATE, None, None)
fd = syscalls.fsmount(fs, 1, MountAttr.NOEXEC)
os.mkdir("/mnt/fs")
syscalls.move_mount(fd, "", At.FDCWD, "/mnt/fs", MoveMount.F_EMPTY_PATH)
mount, = visible("/mnt/fs")
assert "noexec" in mount.options and "size=64k" in mount.super_options
"""
    )


def test_a_wrong_parameter_comes_with_the_kernels_sentence(program) -> None:
    done = program(
        """
        fs = syscalls.fsopen("tmpfs")
        syscalls.fsconfig(fs, FsConfig.SET_STRING, "size", "much")
        """,
        code_expected=1,
    )
    assert "[Errno 22] Invalid argument" in done.stderr
    assert "much" in done.stderr and "e tmpfs: Bad value for 'size'" in done.stderr


def test_an_unknown_file_system_is_named(program) -> None:
    done = program("syscalls.fsopen('frobfs')", code_expected=1)
    assert "OSError: [Errno 19] No such device: 'frobfs'" in done.stderr


def test_clone3_is_a_fork_with_a_pidfd(program) -> None:
    program("""
        import ctypes
        pidfd = ctypes.c_int(-1)
        args = syscalls.CloneArgs(
            flags=CloneFlag.PIDFD | CloneFlag.NEWUTS,
            pidfd=ctypes.addressof(pidfd),
            exit_signal=signal.SIGCHLD,
        )
        pid = syscalls.clone3(args)
        if pid == 0:
            syscalls.sethostname("child")
            os._exit(7 if os.uname().nodename == "child" and os.getpid() > 1 else 1)
        assert os.waitid(os.P_PIDFD, pidfd.value, os.WEXITED).si_status == 7
        assert os.uname().nodename != "child"
    """)


def test_clone3_names_the_flags_it_refused(program) -> None:
    done = program(
        "syscalls.clone3(syscalls.CloneArgs(flags=CloneFlag.NEWNS | CloneFlag.FS))",
        code_expected=1,
    )
    assert "Invalid argument: 'FS|NEWNS'" in done.stderr or "'NEWNS|FS'" in done.stderr


def test_the_first_child_of_a_pid_namespace_is_its_first_process(program) -> None:
    program("""
        pid = syscalls.clone3(
            syscalls.CloneArgs(flags=CloneFlag.NEWPID, exit_signal=signal.SIGCHLD)
        )
        if pid == 0:
            os._exit(os.getpid())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    """)


def test_close_range_closes_or_marks(program) -> None:
    program("""
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
        os.set_inheritable(fds[0], True)
        syscalls.close_range(fds[0], fds[0], CloseRange.CLOEXEC)
        assert not os.get_inheritable(fds[0])
        syscalls.close_range(fds[1])
        open_fds = {int(name) for name in os.listdir("/proc/self/fd")}
        assert fds[0] in open_fds and fds[2] not in open_fds
    """)


def test_prctl_names_the_option_it_refused(program) -> None:
    done = program("syscalls.prctl(Prctl.CAPBSET_READ, 99)", code_expected=1)
    assert "Invalid argument: 'CAPBSET_READ'" in done.stderr


def test_the_name_of_a_thread_is_set(program) -> None:
    program("""
        import ctypes
        name = ctypes.create_string_buffer(b"pluto")
        syscalls.prctl(Prctl.SET_NAME, ctypes.addressof(name))
        assert procfs.status()["Name"] == "pluto"
    """)
