"""New namespaces, joined ones, maps and clocks, as /proc shows them."""

import pytest

from labkit.namespaces import KINDS

pytestmark = pytest.mark.root

#: a process in all eight kinds of new namespaces, to be joined
TARGET = """
def live():
    syscalls.sethostname("target")
    os.close(alive)
    time.sleep(60)
one = [IdMap(0, 1000, 10)]
named, alive = os.pipe()
target = spawn(namespaces.KINDS, live, uid_maps=one, gid_maps=one)
os.close(alive)
assert os.read(named, 1) == b""  # the end of the pipe: it has its name
def same(kind, pid="self"):
    return procfs.ns_inode(pid, kind) == procfs.ns_inode(target.pid, kind)
"""
#: a second thread, for what needs one only
THREAD = """
import threading
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_unshare_gives_a_new_namespace_of_each_kind(program, kind) -> None:
    program("""
        from labkit import namespaces
        kind = sys.argv[1]
        before = procfs.ns_inode("self", kind)
        namespaces.unshare([kind])
        if kind in ("pid", "time"):  # the children are in it, we are not
            assert procfs.ns_inode("self", kind) == before
            if os.fork():
                sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
        assert procfs.ns_inode("self", kind) != before
    """, kind)  # fmt: skip


def test_all_eight_kinds_at_once(isolated) -> None:
    isolated("""
        before = procfs.namespaces()
        def inside():
            assert not set(before.items()) & set(procfs.namespaces().items())
        with spawn(namespaces.KINDS, inside) as child:
            assert child.wait() == 0
    """)


def test_a_kind_that_is_none_is_named(program) -> None:
    done = program(
        "from labkit import namespaces\nnamespaces.unshare(['uts', 'host'])", code_expected=1
    )
    assert "no namespace kind 'host': known are mnt pid uts" in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_unshare_in_a_threaded_process_is_refused_where_the_kernel_refuses(program, kind) -> None:
    program(f"""
        {THREAD.replace(chr(10), chr(10) + " " * 8)}
        from labkit import namespaces
        kind, refused, message = sys.argv[1], None, ""
        try:
            namespaces.unshare([kind])
        except Conflict as error:
            message = str(error)
        try:  # what would the kernel have done?
            syscalls.unshare(namespaces.KINDS[kind])
            other = threading.Thread(target=stop.wait)
            other.start()
        except (OSError, RuntimeError) as error:
            refused = error
        stop.set()
        if not (kind == "time" and message):  # newer kernels have become kinder
            assert bool(message) == bool(refused), (message, refused)
        flag = namespaces.KINDS[kind].name
        assert not message or message.startswith(
            f"this process has 2 threads: "), message
        assert not message or f"unshare(CLONE_{{flag}})" in message, message
    """, kind)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_join_in_a_threaded_process_is_refused_where_the_kernel_refuses(isolated, kind) -> None:
    isolated(
        TARGET
        + """
def joiner():
    sys.path.append(os.path.dirname(os.__file__))
"""
        + "\n".join(f"    {line}" for line in THREAD.splitlines())
        + """
    kind, refused, message = sys.argv[1], None, ""
    fd = os.open(f"/proc/{target.pid}/ns/{kind}", os.O_RDONLY)
    try:
        namespaces.join(target.pid, [kind])
    except Conflict as error:
        message = str(error)
    try:
        syscalls.setns(fd)
        threading.Thread(target=stop.wait).start()
    except (OSError, RuntimeError) as error:
        refused = error
    stop.set()
    assert bool(message) == bool(refused), (message, refused)
    assert not message or f"setns(CLONE_{namespaces.KINDS[kind].name})" in message, message
with target, spawn([], joiner) as child:
    assert child.wait() == 0
""",
        kind,
    )


def test_join_all_is_the_target_in_everything_and_its_children_too(isolated) -> None:
    isolated(TARGET + """
def joiner():
    namespaces.join(target.pid)
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert os.uname().nodename == "target"
    os.write(write, b"x")
    time.sleep(60)
read, write = os.pipe()
with target, spawn([], joiner) as child:
    os.close(write)
    assert os.read(read, 1) == b"x"
    (grandchild,) = procfs.children(child.pid)
    assert procfs.namespaces(grandchild) == procfs.namespaces(target.pid)
    assert len(procfs.nspid(grandchild)) == len(procfs.nspid(target.pid)) == 2
    os.kill(grandchild, signal.SIGKILL)
    assert child.wait() == 256 - signal.SIGKILL  # and has reaped it: else target could not end
""")  # fmt: skip


def test_join_some_leaves_the_others(isolated) -> None:
    isolated(TARGET + """
def joiner():
    opened = set(os.listdir("/proc/self/fd"))
    namespaces.join(target.pid, ["uts", "mnt"])
    assert same("uts") and same("mnt") and not same("net") and not same("user")
    assert set(os.listdir("/proc/self/fd")) == opened
with target, spawn([], joiner) as child:
    assert child.wait() == 0
""")  # fmt: skip


def test_join_enters_what_the_user_namespace_does_not_own_before_it(isolated) -> None:
    """The target's network namespace is older than its user namespace: user first would fail."""
    isolated("""
        namespaces.unshare(["net"])
        mine = procfs.ns_inode("self", "net")
        one = [IdMap(0, 1000, 10)]
        target = spawn(["user", "uts"], lambda: time.sleep(60), uid_maps=one, gid_maps=one)
        namespaces.unshare(["net"])
        def joiner():
            namespaces.join(target.pid, ["user", "net", "uts"])
            assert procfs.ns_inode("self", "net") == mine
            for kind in ("user", "uts"):
                assert procfs.ns_inode("self", kind) == procfs.ns_inode(target.pid, kind)
        def wrong_order():
            net = os.open(f"/proc/{target.pid}/ns/net", os.O_RDONLY)
            syscalls.setns(os.open(f"/proc/{target.pid}/ns/user", os.O_RDONLY))
            assert "Operation not permitted" in raises(PermissionError, syscalls.setns, net)
        with target:
            for function in (joiner, wrong_order):
                with spawn([], function) as child:
                    assert child.wait() == 0
    """)


def test_an_unprivileged_owner_joins_the_user_namespace_first(isolated) -> None:
    isolated("""
        def owner():
            os.setgroups([]); os.setgid(1000); os.setuid(1000)
            syscalls.libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else /proc/PID is root's
            target = spawn(["user", "uts", "net"], lambda: time.sleep(60),
                           uid_maps=[IdMap(0, 1000)], gid_maps=[IdMap(0, 1000)])
            def joiner():
                namespaces.join(target.pid, ["net", "uts", "user"])
                assert procfs.ns_inode("self", "net") == procfs.ns_inode(target.pid, "net")
                assert os.getuid() == 0
            with target, spawn([], joiner) as child:
                return child.wait()
        with spawn([], owner) as child:
            assert child.wait() == 0, child.wait()
    """)


def test_a_second_join_has_nothing_to_do(isolated) -> None:
    isolated(TARGET + """
def joiner():
    namespaces.join(target.pid, ["user"])
    namespaces.join(target.pid, ["user"])  # setns would say EINVAL
with target, spawn([], joiner) as child:
    assert child.wait() == 0
""")  # fmt: skip


def test_joining_a_dead_process_names_its_pid(isolated) -> None:
    isolated("""
        child = spawn([], lambda: 0)
        child.wait()
        before = procfs.namespaces()
        message = raises(ProcessLookupError, namespaces.join, child.pid)
        assert "no such process" in message and str(child.pid) in message
        assert procfs.namespaces() == before
        assert "no such process" in raises(
            ProcessLookupError, namespaces.write_maps, child.pid, [IdMap(0, 0)], [IdMap(0, 0)],
            setgroups=True)
    """)


# ---- ids ------------------------------------------------------------------------


def test_root_inside_is_an_ordinary_user_outside(isolated) -> None:
    isolated("""
        os.mkdir("/mnt/shared")
        os.chmod("/mnt/shared", 0o777)
        def inside():
            assert os.getuid() == os.getgid() == 65534  # 0 of outside has no number here
            os.setgid(0); os.setuid(0)
            open("/mnt/shared/proof", "w").close()
            raises(PermissionError, os.setgroups, [])
        one = [IdMap(0, 1000)]
        with spawn(["user"], inside, uid_maps=one, gid_maps=one) as child:
            assert child.wait() == 0
        found = os.stat("/mnt/shared/proof")
        assert (found.st_uid, found.st_gid) == (1000, 1000)
    """)


def test_maps_are_read_back_and_setgroups_stays_allowed_when_wanted(isolated) -> None:
    isolated("""
        uids, gids = [IdMap(0, 1000, 1), IdMap(1, 100000, 65535)], [IdMap(0, 0, 4294967295)]
        inside = lambda: os.setgroups([7]) or time.sleep(60)
        with spawn(["user"], inside, uid_maps=uids, gid_maps=gids, setgroups=True) as child:
            assert str(namespaces.read_maps(child.pid)) == str(uids)
            assert str(namespaces.read_maps(child.pid, "gid_map")) == str(gids)
            assert procfs.read(child.pid, "setgroups") == "allow\\n"
    """)


def test_a_map_is_written_once_and_the_refusal_shows_it(isolated) -> None:
    isolated("""
        one = [IdMap(0, 1000)]
        with spawn(["user"], lambda: time.sleep(60), uid_maps=one, gid_maps=one) as child:
            message = raises(PermissionError, namespaces.write_maps, child.pid, one, one,
                             setgroups=True)
            assert f"0 1000 1" in message and f"/proc/{child.pid}/uid_map" in message
    """)


def test_ids_that_the_writer_does_not_have_are_refused_and_the_child_is_gone(isolated) -> None:
    """The inner namespace maps an outside id that the outer one does not know."""
    isolated("""
        def outer():
            os.setgid(0); os.setuid(0)  # who has no number here may not make a user namespace
            syscalls.libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, after setuid
            Mount("proc", "/proc", "proc").perform()
            wrong = [IdMap(0, 5000, 10)]
            message = raises(PermissionError, spawn, ["user"], lambda: 0, uid_maps=wrong,
                             gid_maps=wrong, setgroups=True)
            assert "0 5000 10" in message and "uid_map" in message, message
            assert procfs.children(os.getpid()) == []
        few = [IdMap(0, 1000, 10)]
        with spawn(["user", "pid", "mnt"], outer, uid_maps=few, gid_maps=few,
                   setgroups=True) as child:
            assert child.wait() == 0
    """)


# ---- clocks, loopback -------------------------------------------------------------


def test_a_child_sees_the_clocks_shifted(isolated) -> None:
    isolated("""
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        namespaces.unshare(["time"])
        namespaces.set_time_offsets("self", boottime=86400, monotonic=-0.5)
        here = time.monotonic()
        def inside():
            assert 86400 <= time.clock_gettime(time.CLOCK_BOOTTIME) - before < 86460
            assert -0.5 <= time.monotonic() - here < 60
        with spawn([], inside) as child:
            assert child.wait() == 0
        message = raises(PermissionError, namespaces.set_time_offsets, "self", boottime=1)
        assert "boottime 1 0" in message, message
    """)


def test_a_clock_cannot_go_below_zero(isolated) -> None:
    isolated("""
        namespaces.unshare(["time"])
        message = raises(OSError, namespaces.set_time_offsets, "self", monotonic=-1e9)
        assert "monotonic -1000000000 0" in message
    """)


def test_loopback_is_down_in_a_new_network_and_answers_when_up(isolated) -> None:
    isolated("""
        namespaces.unshare(["net"])
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            with socket.socket() as client:
                raises(OSError, client.connect, server.getsockname())
            namespaces.bring_up_lo()
            with socket.socket() as client:
                client.connect(server.getsockname())
    """)
