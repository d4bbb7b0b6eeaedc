"""A container's /dev, /proc, /sys and root, looked at from inside."""

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.parametrize("isolated", ["rprivate", "rshared"], indirect=True),
]

#: a root of the plan's own, from which nothing of the host is seen
CONTAINER = """
def enter(root="/mnt/root"):
    os.makedirs(root, exist_ok=True)
    rootfs.prepare(root)
    mounts.perform(rootfs.default_plan(), root)
    rootfs.pivot(root)
    mounts.perform(rootfs.protection_plan())
"""


def test_the_default_plan_gives_what_the_spec_asks_for(isolated) -> None:
    isolated(CONTAINER + """
enter()
assert sorted(os.listdir("/")) == ["dev", "proc", "sys"]
found = {mount.point: mount for mount in procfs.mountinfo()}
assert found["/proc"].fstype == "proc"
assert {"nosuid", "noexec", "nodev"} <= set(found["/proc"].options)
assert found["/dev"].fstype == "tmpfs" and "mode=755" in found["/dev"].super_options
assert "nosuid" in found["/dev"].options and "nodev" not in found["/dev"].options
assert {"gid=5", "mode=620", "ptmxmode=666"} <= set(found["/dev/pts"].super_options)
assert found["/dev/mqueue"].fstype == "mqueue"
assert found["/dev/shm"].fstype == "tmpfs" and os.stat("/dev/shm").st_mode & 0o7777 == 0o1777
assert found["/sys"].fstype == "sysfs" and "ro" in found["/sys"].options
raises(OSError, open, "/sys/kernel/uevent_helper", "w")
""")  # fmt: skip


def test_device_nodes_and_links_are_there_and_work(isolated) -> None:
    isolated(CONTAINER + """
enter()
for name, numbers in rootfs.DEVICES.items():
    node = os.stat(f"/dev/{name}")
    assert (os.major(node.st_rdev), os.minor(node.st_rdev)) == numbers
    assert stat.S_ISCHR(node.st_mode) and stat.S_IMODE(node.st_mode) == 0o666
assert open("/dev/zero", "rb").read(3) == bytes(3) and open("/dev/null").read() == ""
assert os.readlink("/dev/fd") == "/proc/self/fd" and os.readlink("/dev/stderr") == "/proc/self/fd/2"
with terminal.open_pty() as pty:  # through /dev/ptmx -> pts/ptmx
    assert pty.name == "/dev/pts/0" and os.ttyname(pty.slave) == "/dev/pts/0"
    assert os.stat(pty.name).st_gid == 5
""")  # fmt: skip


def test_without_mknod_the_nodes_are_borrowed_from_the_host(isolated) -> None:
    isolated("""
        def inside():
            os.setgid(0); os.setuid(0)
            Mount("tmpfs", "/mnt/root", "tmpfs", ["mode=755"]).perform()
            rootfs.Node("/dev/null", 1, 3).perform("/mnt/root")
            assert mounts.is_mount_point("/mnt/root/dev/null")
            assert open("/mnt/root/dev/null").read() == ""
        os.mkdir("/mnt/root")
        ids = [IdMap(0, 0, 2)]
        with spawn(["user", "mnt"], inside, uid_maps=ids, gid_maps=ids) as child:
            assert child.wait() == 0
    """)


def test_the_whole_plan_in_a_user_namespace(isolated) -> None:
    isolated(CONTAINER + """
def inside():
    os.setgid(0); os.setuid(0)
    Mount("tmpfs", "/mnt/root", "tmpfs").perform()
    enter()
    assert {"null", "pts", "ptmx", "shm", "tty"} <= set(os.listdir("/dev"))
    assert open("/dev/zero", "rb").read(1) == b"\\0"
    raises(OSError, open, "/proc/sys/kernel/domainname", "w")
ids = [IdMap(0, 0, 1000)]
kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]
os.mkdir("/mnt/root")
with spawn(kinds, inside, uid_maps=ids, gid_maps=ids) as child:
    assert child.wait() == 0
""")  # fmt: skip


# ---- hidden and protected -----------------------------------------------------------


def test_masked_paths_are_empty_and_readonly_ones_refuse_writes(isolated) -> None:
    isolated(CONTAINER + """
enter()
assert open("/proc/timer_list").read() == open("/proc/interrupts").read() == ""
assert os.listdir("/sys/firmware") == []
assert "Read-only" in raises(OSError, open, "/proc/sys/kernel/hostname", "w")
assert "Read-only" in raises(OSError, open, "/proc/irq/default_smp_affinity", "w")
assert open("/proc/sys/kernel/ostype").read() == "Linux\\n"
""")  # fmt: skip


def test_a_hidden_file_stays_hidden_from_writes_and_a_directory_from_new_files(isolated) -> None:
    isolated("""
        os.makedirs("/mnt/dir/sub")
        open("/mnt/file", "w").write("secret")
        mounts.perform(rootfs.protection_plan(["/dir", "/file", "/missing"], ["/none"]), "/mnt")
        assert os.listdir("/mnt/dir") == [] and open("/mnt/file").read() == ""
        assert "Read-only" in raises(OSError, os.mkdir, "/mnt/dir/new")
        assert sorted(os.listdir("/mnt")) == ["dir", "file"]
    """)


def test_protection_covers_the_mounts_below_and_keeps_their_attributes(isolated) -> None:
    isolated("""
        os.makedirs("/mnt/a/below")
        Mount("x", "/mnt/a/below", "tmpfs", ["nosuid"]).perform()
        rootfs.Protect("/a").perform("/mnt")
        assert {"ro", "nosuid"} <= set(mounts.mount_of("/mnt/a/below").options)
        raises(OSError, open, "/mnt/a/below/file", "w")
    """)


def test_plans_describe_themselves_before_they_run(isolated) -> None:
    isolated("""
        text = mounts.describe([*rootfs.default_plan(), *rootfs.protection_plan()])
        for line in ("mount -t proc -o nosuid,noexec,nodev proc /proc",
                     "mknod -m 666 /dev/null c 1 3", "ln -s pts/ptmx /dev/ptmx",
                     "make /proc/sys read-only, if it exists", "hide /proc/kcore, if it exists"):
            assert line in text.splitlines(), line
        assert visible() == []
    """)


def test_a_node_that_is_there_is_not_replaced(isolated) -> None:
    isolated("""
        os.mkdir("/mnt/dev")
        open("/mnt/dev/null", "w").close()
        raises(FileExistsError, rootfs.Node("/dev/null", 1, 3).perform, "/mnt")
        raises(FileExistsError, rootfs.Link("/dev/null", "zero").perform, "/mnt")
        assert os.umask(0o22) == 0o22
    """)


# ---- pivot ------------------------------------------------------------------------------


def test_after_pivot_the_old_root_is_out_of_reach(isolated) -> None:
    """The escape that chroot lets through: a descriptor, chroot once more, then up and up."""
    isolated(CONTAINER + """
def escape():
    os.mkdir("/jail")
    os.chroot("/jail")
    for _ in range(50):
        os.chdir("..")
    os.chroot(".")
    return os.path.exists("/etc/passwd")
def jailed():
    os.mkdir("/mnt/chroot")
    os.chroot("/mnt/chroot")
    os.chdir("/")
    return 10 + escape()
def pivoted():
    enter()
    assert [mount.point for mount in procfs.mountinfo() if mount.point == "/"] == ["/"]
    assert os.getcwd() == "/"
    return 10 + escape()
with spawn(["mnt"], jailed) as child:
    assert child.wait() == 11, "the escape works at all"
with spawn(["mnt", "pid"], pivoted) as child:
    assert child.wait() == 10
""")  # fmt: skip


def test_pivot_leaves_the_namespace_outside_as_it_was(isolated) -> None:
    isolated(CONTAINER + """
before = [str(mount.id) + mount.point for mount in procfs.mountinfo()]
with spawn(["mnt", "pid"], enter) as child:
    assert child.wait() == 0
assert [str(mount.id) + mount.point for mount in procfs.mountinfo()] == before
""")  # fmt: skip


def test_pivot_says_which_condition_does_not_hold(isolated) -> None:
    isolated("""
        os.mkdir("/mnt/plain")
        open("/mnt/file", "w").close()
        Mount("tmpfs", "/mnt/shared", "tmpfs", ["shared"]).perform()
        Mount("tmpfs", "/mnt/shared/root", "tmpfs", ["private"]).perform()
        cases = [
            ("mnt", InvalidParameter, "root 'mnt' is not an absolute path"),
            ("/mnt/none", NotADirectoryError, "/mnt/none"),
            ("/mnt/file", NotADirectoryError, "/mnt/file"),
            ("/mnt/plain", InvalidParameter, "'/mnt/plain' is not a mount point: bind it"),
            ("/mnt/shared/root", Conflict, "the mount at '/mnt/shared' is shared"),
        ]
        for root, kind, words in cases:
            assert words in raises(kind, rootfs.pivot, root)
            assert os.getcwd() == os.path.realpath(os.getcwd()) and os.path.isdir("/mnt/plain")
        os.chdir("/mnt/shared/root")
        message = raises(OSError, syscalls.pivot_root, ".", ".")
        assert "Invalid argument" in message, "all that the kernel says"
        rootfs.prepare("/mnt/shared/root")
        rootfs.pivot("/mnt/shared/root")
        assert os.listdir("/") == []
    """)
