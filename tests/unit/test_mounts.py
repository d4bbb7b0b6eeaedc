"""Mount plans as data: words, descriptions, and what is refused before anything is mounted."""

import pytest

from labkit import mounts
from labkit.errors import InvalidParameter
from labkit.linux.constants import MountAttr
from labkit.mountoptions import ATTRIBUTES, OPTIONS, RECURSIVE
from labkit.mounts import Mount

#: the words of the OCI runtime spec 1.2, config.md "Mounts"; the rest of them is listed as refused
OCI = """
async atime bind defaults dev diratime dirsync exec lazytime loud mand noatime nodev nodiratime
noexec nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev
rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnosuid rnosymfollow ro
rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent
slave strictatime suid symfollow sync unbindable
""".split()


def test_the_words_of_the_spec_are_known() -> None:
    assert set(OCI) <= OPTIONS, set(OCI) - OPTIONS


def test_each_attribute_has_a_word_that_sets_and_one_that_clears_it() -> None:
    for word, (to_set, to_clear) in ATTRIBUTES.items():
        assert to_set or to_clear, word
        assert RECURSIVE[f"r{word}"] == (to_set, to_clear)
    assert ATTRIBUTES["noatime"] == (MountAttr.NOATIME, MountAttr.ATIME)


@pytest.mark.parametrize(
    "mount, text",
    [
        (Mount("proc", "/proc", "proc", ["nosuid"]), "mount -t proc -o nosuid proc /proc"),
        (Mount("tmpfs", "/run", "tmpfs"), "mount -t tmpfs tmpfs /run"),
        (Mount("/a", "/b", options=["rbind", "ro"]), "mount -o rbind,ro /a /b"),
        (Mount("/a", "/b", "none", ["bind"]), "mount -o bind /a /b"),
    ],
)
def test_a_mount_describes_itself_as_the_command(mount, text) -> None:
    assert mount.describe() == text
    assert repr(mount) == f"<{text}>"


def test_a_plan_is_described_line_by_line() -> None:
    plan = [Mount("a", "/a", "tmpfs"), Mount("b", "/b", "tmpfs")]
    assert mounts.describe(plan) == "mount -t tmpfs a /a\nmount -t tmpfs b /b"


def test_a_misspelt_word_of_a_bind_mount_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="option 'roo' of /b: a bind mount has no such"):
        Mount("/a", "/b", options=["bind", "roo"])
    assert Mount("a", "/b", "tmpfs", ["size=1m"]).options == ("size=1m",), "the file system's word"


def test_neither_type_nor_bind_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="mount at /b: neither a file system type nor bind"):
        Mount("/a", "/b")


def test_options_that_are_one_text_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="options 'ro,nosuid' of /b: a list of words"):
        Mount("/a", "/b", "tmpfs", "ro,nosuid")
