"""Mounts as /proc/self/mountinfo shows them, with / private and with / shared."""

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.parametrize("isolated", ["rprivate", "rshared"], indirect=True),
]


def test_a_file_system_has_its_options_and_its_own_words(isolated) -> None:
    isolated("""
        Mount("scratch", "/mnt/a", "tmpfs", ["nosuid", "nodev", "noexec", "noatime", "mode=750",
              "size=64k"]).perform()
        found = mounts.mount_of("/mnt/a")
        assert found.fstype == "tmpfs" and found.source == "scratch"
        assert found.options == ["rw", "nosuid", "nodev", "noexec", "noatime"], found.options
        assert {"mode=750", "size=64k"} <= set(found.super_options)
        assert stat.S_IMODE(os.stat("/mnt/a").st_mode) == 0o750
    """)


@pytest.mark.parametrize("word", ["ro", "nosuid", "nodev", "noexec", "nosymfollow", "nodiratime"])
def test_each_word_sets_and_its_opposite_clears(isolated, word) -> None:
    isolated("""
        word = sys.argv[1]
        back = {"ro": "rw"}.get(word, word.removeprefix("no"))
        Mount("/etc", "/mnt/a", options=["bind", word]).perform()
        assert word in mounts.mount_of("/mnt/a").options
        Mount("/etc", "/mnt/a", options=["bind", "remount", back]).perform()
        assert word not in mounts.mount_of("/mnt/a").options
        Mount("/etc", "/mnt/b", options=["bind", word, back]).perform()
        assert word not in mounts.mount_of("/mnt/b").options, "the later word wins"
    """, word)  # fmt: skip


def test_read_only_means_that_a_write_fails(isolated) -> None:
    isolated("""
        os.mkdir("/mnt/source")
        Mount("/mnt/source", "/mnt/a", options=["bind", "ro"]).perform()
        assert "Read-only" in raises(OSError, open, "/mnt/a/file", "w")
        open("/mnt/source/file", "w").close()  # the source is as it was
        assert os.listdir("/mnt/a") == ["file"]
    """)


def test_ro_covers_one_mount_and_rro_all_below(isolated) -> None:
    isolated("""
        os.makedirs("/mnt/source/below")
        Mount("tmpfs", "/mnt/source/below", "tmpfs").perform()
        Mount("/mnt/source", "/mnt/one", options=["rbind", "ro"]).perform()
        Mount("/mnt/source", "/mnt/all", options=["rbind", "rro", "rnosuid"]).perform()
        open("/mnt/one/below/file", "w").close()
        raises(OSError, open, "/mnt/one/file", "w")
        assert "Read-only" in raises(OSError, open, "/mnt/all/below/file", "w")
        assert "nosuid" in mounts.mount_of("/mnt/all/below").options
        assert "ro" not in mounts.mount_of("/mnt/source/below").options
    """)


def test_bind_shows_one_mount_and_rbind_the_tree(isolated) -> None:
    isolated("""
        os.makedirs("/mnt/source/below")
        Mount("tmpfs", "/mnt/source/below", "tmpfs").perform()
        Mount("/mnt/source", "/mnt/one", options=["bind"]).perform()
        Mount("/mnt/source", "/mnt/all", options=["rbind"]).perform()
        assert "/mnt/one/below" not in visible() and "/mnt/all/below" in visible()
    """)


def test_a_file_is_bound_on_a_file_that_is_created(isolated) -> None:
    isolated("""
        open("/mnt/hosts", "w").write("127.0.0.1 me")
        Mount("/mnt/hosts", "/etc/hosts", options=["bind", "ro"]).perform("/mnt")
        assert open("/mnt/etc/hosts").read() == "127.0.0.1 me"
        assert mounts.is_mount_point("/mnt/etc/hosts")
    """)


def test_locked_attributes_stay_when_a_user_namespace_changes_others(isolated) -> None:
    isolated("""
        Mount("tmpfs", "/mnt/a", "tmpfs", ["nosuid", "nodev"]).perform()
        def inside():
            os.setgid(0); os.setuid(0)
            Mount("/mnt/a", "/mnt/a", options=["bind", "ro"]).perform()
            assert {"ro", "nosuid", "nodev"} <= set(mounts.mount_of("/mnt/a").options)
            Mount("", "/mnt/a", options=["bind", "remount", "noexec"]).perform()
            assert "noexec" in mounts.mount_of("/mnt/a").options
            message = raises(PermissionError, Mount("", "/mnt/a", options=["bind", "remount",
                             "suid"]).perform)
            assert "/mnt/a" in message
        ids = [IdMap(0, 0, 2)]
        with spawn(["user", "mnt"], inside, uid_maps=ids, gid_maps=ids) as child:
            assert child.wait() == 0
    """)


def test_remount_changes_the_file_system_and_keeps_the_rest(isolated) -> None:
    isolated("""
        Mount("tmpfs", "/mnt/a", "tmpfs", ["nosuid", "size=64k"]).perform()
        Mount("tmpfs", "/mnt/a", "tmpfs", ["remount", "ro", "size=128k"]).perform()
        found = mounts.mount_of("/mnt/a")
        assert {"ro", "nosuid"} <= set(found.options)
        assert {"ro", "size=128k"} <= set(found.super_options)
        with mounts.mounted(Mount("", "/mnt/a", "tmpfs", ["remount", "rw"])):
            open("/mnt/a/file", "w").close()
        assert "/mnt/a" in visible(), "a remount is no mount: nothing to unmount"
    """)


@pytest.mark.parametrize("word", ["private", "slave", "shared", "unbindable"])
def test_propagation_is_as_the_word_says_below_any_parent(isolated, word) -> None:
    isolated("""
        word = sys.argv[1]
        os.mkdir("/mnt/source")
        Mount("tmpfs", "/mnt/source", "tmpfs", ["shared"]).perform()
        Mount("/mnt/source", "/mnt/a", options=["bind", word]).perform()
        assert mounts.propagation_of("/mnt/a") == word
        os.mkdir("/mnt/source/below")
        Mount("tmpfs", "/mnt/source/below", "tmpfs").perform()
        arrives = "/mnt/a/below" in visible()
        assert arrives == (word in ("slave", "shared"))
    """, word)  # fmt: skip


def test_the_r_words_reach_the_mounts_below(isolated) -> None:
    isolated("""
        mounts.perform([Mount("tmpfs", "/mnt/a", "tmpfs", ["shared"]),
                        Mount("tmpfs", "/mnt/a/below", "tmpfs")])
        assert mounts.propagation_of("/mnt/a/below") == "shared"
        mounts.propagate("/mnt/a", "rprivate")
        assert mounts.propagation_of("/mnt/a/below") == "private"
        mounts.propagate("/mnt/a", "shared")
        mounts.propagate("/mnt/a", "slave")  # of nobody: there is no other in the group
        mounts.propagate("/mnt/a", "shared")
        assert mounts.propagation_of("/mnt/a") == "shared"
        assert mounts.propagation_of("/mnt/a/below") == "private"
    """)


def test_after_make_private_nothing_reaches_the_namespace_outside(isolated) -> None:
    """The one and the only reason why every container begins with it."""
    isolated("""
        shared = mounts.propagation_of("/") == "shared"
        for private in (False, True):
            place = f"/mnt/private-{private}"
            os.mkdir(place)
            def inside():
                if private:
                    mounts.make_private()
                Mount("tmpfs", place, "tmpfs").perform()
                assert place in visible()
            with spawn(["mnt"], inside) as child:
                assert child.wait() == 0
            assert (place in visible()) == (shared and not private)
    """)


# ---- targets ----------------------------------------------------------------------


@pytest.mark.parametrize("link", ["/", "../../../..", "/mnt"])
def test_a_link_in_the_root_does_not_lead_the_mount_out(isolated, link) -> None:
    isolated("""
        os.mkdir("/mnt/root")
        os.mkdir("/mnt/etc")
        os.symlink(sys.argv[1], "/mnt/root/way")
        Mount("tmpfs", "/way/etc", "tmpfs").perform("/mnt/root")
        inside = "/mnt/root/mnt/etc" if sys.argv[1] == "/mnt" else "/mnt/root/etc"
        assert visible("/mnt/") == [inside]
    """, link)  # fmt: skip


def test_mounts_stack_and_the_topmost_is_the_one_that_is_seen(isolated) -> None:
    isolated("""
        for name in ("first", "second"):
            Mount(name, "/mnt/a", "tmpfs").perform()
        assert mounts.mount_of("/mnt/a").source == "second"
        mounts.umount("/mnt/a")
        assert mounts.mount_of("/mnt/a").source == "first"
    """)


def test_a_directory_is_a_mount_point_only_where_a_mount_begins(isolated) -> None:
    isolated("""
        os.makedirs("/mnt/plain/sub")
        Mount("/mnt/plain", "/mnt/plain", options=["bind"]).perform()
        assert mounts.is_mount_point("/mnt/plain") and not mounts.is_mount_point("/mnt/plain/sub")
        os.symlink("/mnt/plain", "/mnt/link")
        assert mounts.is_mount_point("/mnt/link")
    """)


# ---- plans and the end ------------------------------------------------------------


def test_mounted_takes_everything_down_in_reverse(isolated) -> None:
    isolated("""
        plan = [Mount("a", "/a", "tmpfs"), Mount("b", "/a/b", "tmpfs"),
                Mount("/mnt", "/a/c", options=["rbind"])]
        with mounts.mounted(*plan, root="/mnt"):
            assert {"/mnt/a", "/mnt/a/b", "/mnt/a/c", "/mnt/a/c/a/b"} <= set(visible("/mnt/a"))
        assert visible("/mnt/a") == []
    """)


def test_taking_a_copied_tree_away_leaves_the_original(isolated) -> None:
    """Mounts below shared ones are unmounted everywhere at once, unless care is taken."""
    isolated("""
        mounts.perform([Mount("tmpfs", "/mnt/source", "tmpfs", ["rshared"]),
                        Mount("tmpfs", "/mnt/source/below", "tmpfs")])
        with mounts.mounted(Mount("/mnt/source", "/mnt/copy", options=["rbind"])):
            assert "/mnt/copy/below" in visible()
        assert visible() == ["/mnt/source", "/mnt/source/below"]
    """)


def test_mounted_takes_down_what_was_mounted_before_an_error(isolated) -> None:
    isolated("""
        plan = [Mount("a", "/mnt/a", "tmpfs"), Mount("/nowhere", "/mnt/a/b", options=["bind"])]
        message = raises(FileNotFoundError, mounts.mounted(*plan).__enter__)
        assert "/nowhere" in message
        assert visible("/mnt/a") == [] and os.listdir("/mnt/a") == []
    """)


def test_mounted_says_so_when_a_mount_is_still_in_use(isolated) -> None:
    isolated("""
        def busy():
            with mounts.mounted(Mount("a", "/mnt/a", "tmpfs"), Mount("b", "/mnt/b", "tmpfs")):
                holder.append(open("/mnt/a/file", "w"))
        holder = []
        message = raises(OSError, busy)
        assert "busy" in message and "/mnt/a" in message
        assert visible("/mnt/") == ["/mnt/a"], "the other one is gone all the same"
    """)


def test_no_descriptor_and_no_detached_mount_is_left(isolated) -> None:
    isolated("""
        before = os.listdir("/proc/self/fd")
        plan = [Mount("a", "/mnt/a", "tmpfs"), Mount("/etc", "/mnt/b", options=["bind"])]
        with mounts.mounted(*plan):
            assert os.listdir("/proc/self/fd") == before
        open("/mnt/file", "w").close()
        raises(OSError, Mount("/mnt/b", "/mnt/file", options=["bind"]).perform)
        assert os.listdir("/proc/self/fd") == before
    """)


# ---- bad input ----------------------------------------------------------------------


def test_bad_input_gets_one_clear_message_and_nothing_is_left(isolated) -> None:
    isolated("""
        open("/mnt/file", "w").close()
        os.mkdir("/mnt/dir")
        before = sorted(os.listdir("/mnt"))
        cases = [
            (Mount("x", "/new", "nofs"), "/mnt", OSError, "No such device: 'nofs'"),
            (Mount("/nowhere", "/new", options=["bind"]), "/mnt", OSError, "'/nowhere'"),
            (Mount("x", "/new", "tmpfs", ["mode=rwx"]), "/mnt", OSError, "mode: rwx: "),
            (Mount("x", "/new", "tmpfs", ["colour=red"]), "/mnt", OSError, "colour"),
            (Mount("/mnt/file", "/dir", options=["bind"]), "/mnt", IsADirectoryError,
             "a file cannot cover a directory: '/mnt/file on /dir'"),
            (Mount("/mnt/dir", "/file", options=["bind"]), "/mnt", NotADirectoryError,
             "a directory cannot cover a file: '/mnt/dir on /file'"),
            (Mount("x", "/dir", "tmpfs"), "mnt", InvalidParameter, "root 'mnt' is not an absolute"),
            (Mount("x", "/dir", "tmpfs"), "/mnt/none", FileNotFoundError, "/mnt/none"),
            (Mount("x", "/dir", options=["remount", "bind", "ro"]), "/mnt", OSError, "'/dir'"),
            (Mount("x", "/new", options=["remount", "bind"]), "/mnt", FileNotFoundError, "/new"),
        ]
        for mount, root, kind, words in cases:
            message = raises(kind, mount.perform, root)
            assert words in message, (mount, message)
        assert sorted(os.listdir("/mnt")) == before and visible("/mnt/") == []
        no_mount = "Invalid argument: '/mnt/dir'"
        assert no_mount in raises(OSError, mounts.propagate, "/mnt/dir", "slave")
        assert no_mount in raises(OSError, mounts.umount, "/mnt/dir")
        message = raises(InvalidParameter, mounts.propagate, "/", "hidden")
        assert message.startswith("no propagation 'hidden': known are private slave")
    """)
