"""Paths inside another root: what lies outside is out of reach, whatever the links say."""

import errno
import os
import threading

import pytest

from labkit import rootpath
from labkit.errors import InvalidParameter

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path):
    """A root with a file beside it that must not be reached."""
    (tmp_path / "secret").write_text("outside")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/secret").write_text("inside")
    return inside


def read(root, path):
    with (
        rootpath.closing(rootpath.resolve(str(root), path)) as fd,
        open(f"/proc/self/fd/{fd}") as file,
    ):
        return file.read()


@pytest.mark.parametrize("link", ["/etc", "../../../../../etc", "/../../etc", "etc"])
def test_a_link_stays_inside(root, link) -> None:
    (root / "way").symlink_to(link)
    assert read(root, "/way/secret") == "inside"
    assert rootpath.real(str(root), "way/secret") == str(root / "etc/secret")


def test_dots_stay_inside(root) -> None:
    (root / "secret").write_text("the root's own")
    assert read(root, "../../secret") == "the root's own"


def test_a_magic_link_is_refused(root) -> None:
    fd = os.open(root.parent, os.O_PATH)
    (root / "way").symlink_to(f"/proc/self/fd/{fd}")
    (root / "proc").mkdir()
    with pytest.raises(FileNotFoundError):
        rootpath.resolve(str(root), "way/secret")
    os.close(fd)
    with pytest.raises(OSError) as caught:
        rootpath.resolve("/", "/proc/self/root/etc")
    assert caught.value.errno == errno.ELOOP


def test_a_relative_root_is_refused(root) -> None:
    with pytest.raises(InvalidParameter, match="root 'etc' is not an absolute path"):
        rootpath.resolve("etc", "passwd")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rootpath.resolve("/nowhere", "/")
    with pytest.raises(NotADirectoryError, match="secret"):
        rootpath.resolve(str(root / "etc/secret"), "/")


def test_what_is_missing_is_created_as_asked(root) -> None:
    for path, directory in (("a/b/c", True), ("/d/file", False), ("a/b/../x/", True)):
        os.close(rootpath.ensure(str(root), path, directory=directory))
    assert (root / "a/b/c").is_dir() and (root / "a/x").is_dir()
    assert (root / "d/file").read_bytes() == b""
    assert (root / "d").stat().st_mode & 0o777 == 0o755


def test_what_is_there_is_taken_as_it_is(root) -> None:
    os.close(rootpath.ensure(str(root), "etc/secret", directory=True))
    assert (root / "etc/secret").read_text() == "inside"


@pytest.mark.parametrize("link", ["/run/real", "../run/real", "../../../run/real"])
def test_a_dangling_link_is_created_where_it_points_to_inside(root, link) -> None:
    (root / "etc/resolv.conf").symlink_to(link)
    os.close(rootpath.ensure(str(root), "/etc/resolv.conf", directory=False))
    assert (root / "run/real").is_file()
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]


def test_a_link_to_a_missing_directory_on_the_way_is_created_inside(root) -> None:
    (root / "var").symlink_to("/../../mnt/var")
    os.close(rootpath.ensure(str(root), "/var/log/file", directory=False))
    assert (root / "mnt/var/log/file").is_file()


def test_a_ring_of_links_is_refused(root) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(OSError, match="[Ss]ymbolic links"):
        rootpath.ensure(str(root), "a/x", directory=True)


def test_a_file_on_the_way_is_named(root) -> None:
    with pytest.raises(NotADirectoryError):
        rootpath.ensure(str(root), "etc/secret/below", directory=True)


def test_nobody_leads_out_by_swapping_a_link_in(root) -> None:
    """The classic race: a directory is replaced by a link to the outside between look and use."""
    (root / "evil").symlink_to(root.parent)
    (root / "good").mkdir()
    (root / "good/secret").write_text("inside")
    os.rename(root / "good", root / "x")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for name in ("x", "evil"):
                os.rename(root / name, root / "now")
                os.rename(root / "now", root / name)
                os.symlink(root.parent, root / "now")
                os.unlink(root / "now")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(root, "now/secret"))
            except OSError as error:
                seen.add(error.errno)
    finally:
        stop.set()
        thread.join()
    assert seen <= {"inside", errno.ENOENT, errno.EAGAIN}, seen


def test_parent_gives_directory_and_name(root) -> None:
    with rootpath.parent(str(root), "/new/dir/node") as (fd, name):
        os.mkdir(name, dir_fd=fd)
    assert (root / "new/dir/node").is_dir()
    for wrong in ("/", "", "a/.."):
        with pytest.raises(InvalidParameter, match="does not end in a name"):
            with rootpath.parent(str(root), wrong):
                pass


def test_no_descriptor_is_left_open(root) -> None:
    before = os.listdir("/proc/self/fd")
    os.close(rootpath.ensure(str(root), "p/q/r", directory=True))
    for wrong in ("etc/secret/x/y", "p/none"):
        with pytest.raises(OSError):
            rootpath.resolve(str(root), wrong)
    assert os.listdir("/proc/self/fd") == before
