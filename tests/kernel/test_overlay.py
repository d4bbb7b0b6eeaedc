"""Layers, the marks in them, and overlays made in the new way and in the old one."""

import os

import pytest

from labkit import overlay
from labkit.overlay import Overlay

pytestmark = pytest.mark.root

#: /mnt/1 (top) to /mnt/3, and upper, work, merged; `ways` are both ways to mount
LAYERS = """
from labkit.overlay import Overlay
for name in ("1", "2", "3", "upper", "work", "merged"):
    os.mkdir(f"/mnt/{name}")
for name in "123":
    for file in "123"[int(name) - 1:]:
        open(f"/mnt/{name}/{file}", "w").write(name)
lowers = ["/mnt/1", "/mnt/2", "/mnt/3"]
def read(name):
    with open(f"/mnt/merged/{name}") as file:
        return file.read()
def names():
    return sorted(os.listdir("/mnt/merged"))
def by_string(layers):  # as kernels before 6.7 need it
    layers._mount_by_string("/mnt/merged", "/mnt/merged")
def in_the_best_way(layers):
    layers.perform("/mnt/merged")
way = {"string": by_string, "best": in_the_best_way}[sys.argv[1] if sys.argv[1:] else "best"]
"""

both_ways = pytest.mark.parametrize("way", ["string", "best"])


@both_ways
def test_the_topmost_layer_wins(isolated, way) -> None:
    isolated(LAYERS + """
way(Overlay(lowers))
assert [read(name) for name in "123"] == ["1", "1", "1"]
mounts.umount("/mnt/merged")
way(Overlay(lowers[::-1]))
assert [read(name) for name in "123"] == ["1", "2", "3"]
assert "Read-only" in raises(OSError, open, "/mnt/merged/new", "w")
""", way)  # fmt: skip


@both_ways
def test_writes_go_to_the_upper_layer_and_deletes_leave_a_whiteout(isolated, way) -> None:
    isolated(LAYERS + """
way(Overlay(lowers, "/mnt/upper", "/mnt/work"))
open("/mnt/merged/1", "a").write("!")
os.unlink("/mnt/merged/2")
assert open("/mnt/upper/1").read() == "1!" and open("/mnt/1/1").read() == "1"
assert overlay.is_whiteout("/mnt/upper/2") and not overlay.is_whiteout("/mnt/upper/1")
assert os.path.exists("/mnt/1/2") and names() == ["1", "3"]
""", way)  # fmt: skip


def test_a_directory_that_was_removed_and_made_again_is_opaque(isolated) -> None:
    isolated(LAYERS + """
os.makedirs("/mnt/3/dir/old")
with overlay.mounted(Overlay(lowers, "/mnt/upper", "/mnt/work"), "/mnt/merged"):
    assert os.listdir("/mnt/merged/dir") == ["old"]
    os.rmdir("/mnt/merged/dir/old")
    os.rmdir("/mnt/merged/dir")
    os.mkdir("/mnt/merged/dir")
    assert os.listdir("/mnt/merged/dir") == []
assert overlay.is_opaque("/mnt/upper/dir") and not overlay.is_opaque("/mnt/3/dir")
assert visible() == []
""")  # fmt: skip


def test_marks_made_by_hand_hide_what_lies_below(isolated) -> None:
    isolated(LAYERS + """
os.makedirs("/mnt/3/dir/old")
os.mkdir("/mnt/upper/dir")
open("/mnt/upper/dir/new", "w").close()
overlay.make_whiteout("/mnt/upper/1")
overlay.make_opaque("/mnt/upper/dir")
with overlay.mounted(Overlay(lowers, "/mnt/upper", "/mnt/work"), "/mnt/merged"):
    assert names() == ["2", "3", "dir"] and os.listdir("/mnt/merged/dir") == ["new"]
""")  # fmt: skip


def test_the_upper_layer_is_plain_whatever_the_kernels_defaults_are(isolated) -> None:
    """A renamed directory is copied by the program (EXDEV), not referred to."""
    isolated(LAYERS + """
os.makedirs("/mnt/3/dir/sub")
with overlay.mounted(Overlay(lowers, "/mnt/upper", "/mnt/work"), "/mnt/merged"):
    assert "cross-device" in raises(OSError, os.rename, "/mnt/merged/dir", "/mnt/merged/new")
    os.chmod("/mnt/merged/1", 0o600)
    options = mounts.mount_of("/mnt/merged").super_options
    assert not {"redirect_dir=on", "metacopy=on", "index=on"} & set(options), options
assert open("/mnt/upper/1").read() == "1", "the data, not only the mode"
""")  # fmt: skip


@both_ways
def test_volatile_is_a_mount_that_cannot_be_repeated_until_its_mark_is_gone(isolated, way) -> None:
    isolated(LAYERS + """
layers = Overlay(lowers, "/mnt/upper", "/mnt/work", volatile=True)
way(layers)
found = mounts.mount_of("/mnt/merged").super_options
assert {"volatile", "fsync=volatile"} & set(found), found  # the old name, the new one
mounts.umount("/mnt/merged")
assert "Invalid argument" in raises(OSError, way, layers)
for directory, below, files in os.walk("/mnt/work/work/incompat", topdown=False):
    for name in files:
        os.unlink(os.path.join(directory, name))
    os.rmdir(directory)
way(layers)
""", way)  # fmt: skip


@both_ways
@pytest.mark.parametrize("count", [500, 128])
def test_as_many_layers_as_the_kernel_takes(isolated, way, count) -> None:
    isolated(LAYERS + """
os.mkdir("/mnt/layers")
many = []
for number in range(int(sys.argv[2])):
    many.append(f"/mnt/layers/{number}")
    os.mkdir(many[-1])
    open(f"{many[-1]}/{number}", "w").close()
way(Overlay(many))
assert len(names()) == len(many)
assert mounts.mount_of("/mnt/merged").fstype == "overlay"
""", way, str(count))  # fmt: skip


def test_long_names_fit_in_the_new_way_and_are_refused_in_the_old_one(isolated) -> None:
    isolated(LAYERS + """
many = [f"/mnt/{number:0200}" for number in range(40)]
for path in many:
    os.mkdir(path)
here = os.getcwd()
message = raises(InvalidParameter, by_string, Overlay(many))
assert os.getcwd() == here
assert "bytes of options for 40 layers: this kernel takes 4095" in message
assert visible() == []
if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 8):
    in_the_best_way(Overlay(many))
    assert names() == []
""")  # fmt: skip


@pytest.mark.parametrize(
    "reason",
    ["e overlay: Unknown parameter 'lowerdir+'", "no reason given", "e VFS: Legacy: too large"],
)
def test_an_old_kernel_gets_the_string(isolated, reason) -> None:
    """What 6.6 says to the first layer, and 6.1 to creation and to too many of them."""
    isolated(LAYERS + """
real = syscalls.fsconfig
def old(fd, command, key, value, aux=0):
    at_the_end = sys.argv[2].startswith("no")
    if (key is None) if at_the_end else (key == "lowerdir+"):
        raise OSError(errno.EINVAL, "Invalid argument", sys.argv[2])
    if key != "lowerdir+":
        real(fd, command, key, value, aux)
syscalls.fsconfig = old
Overlay(lowers, "/mnt/upper", "/mnt/work").perform("/mnt/merged")
assert names() == ["1", "2", "3"]
""", "best", reason)  # fmt: skip


# ---- bad input --------------------------------------------------------------------------


def test_bad_input_gets_one_clear_message_and_nothing_is_left(isolated) -> None:
    isolated(LAYERS + """
Mount("other", "/mnt/other", "tmpfs").perform()
open("/mnt/file", "w").close()
before = os.listdir("/proc/self/fd")
cases = [
    (Overlay(["/mnt/1", "/mnt/gone"]), "/mnt/merged", FileNotFoundError, "'/mnt/gone'"),
    (Overlay(["/mnt/1", "/mnt/file"]), "/mnt/merged", NotADirectoryError, "'/mnt/file'"),
    (Overlay(lowers), "/mnt/none", FileNotFoundError, "'/mnt/none'"),
    (Overlay(lowers), "/mnt/file", NotADirectoryError, "'/mnt/file'"),
    (Overlay(lowers, "/mnt/upper", "/mnt/other"), "/mnt/merged", InvalidParameter,
     "upperdir /mnt/upper and workdir /mnt/other are on different file systems"),
    (Overlay(lowers, "/mnt/upper", "/mnt/upper"), "/mnt/merged", InvalidParameter,
     "one lies inside the other"),
]
for layers, target, kind, words in cases:
    assert words in (message := raises(kind, layers.perform, target)), message
assert visible() == ["/mnt/other"] and os.listdir("/proc/self/fd") == before
""")  # fmt: skip


def test_an_overlay_as_upper_layer_is_refused_with_the_reason(isolated) -> None:
    isolated(LAYERS + """
Overlay(lowers, "/mnt/upper", "/mnt/work").perform("/mnt/merged")
for name in ("u", "w", "m"):
    os.mkdir(f"/mnt/merged/{name}")
second = Overlay(["/mnt/1"], "/mnt/merged/u", "/mnt/merged/w")
message = raises(Unsupported, second.perform, "/mnt/merged/m")
assert message == "an overlay cannot be the upper layer of another one: /mnt/merged/u"
answer = overlay.supports_upper("/mnt/merged/u")
assert not answer and answer.reason == message
""")  # fmt: skip


def test_supports_upper_tries_and_leaves_nothing(isolated) -> None:
    isolated("""
        answer = overlay.supports_upper("/mnt")
        assert answer and answer.reason == "" and repr(answer) == "supported"
        Mount("tmpfs", "/mnt/ro", "tmpfs", ["ro"]).perform()
        answer = overlay.supports_upper("/mnt/ro")
        assert not answer and "Read-only file system" in answer.reason
        answer = overlay.supports_upper("/proc")
        assert not answer and answer.reason.startswith("/proc: ")
        assert os.listdir("/mnt") == ["ro"] and os.listdir("/mnt/ro") == []
        assert "/gone" in raises(FileNotFoundError, overlay.supports_upper, "/gone")
    """)


def test_supports_upper_here(tmp_path) -> None:
    """On a real disk, where the kit's own layers will lie."""
    answer = overlay.supports_upper(str(tmp_path))
    assert answer or answer.reason.startswith((overlay.ON_OVERLAY, str(tmp_path)))
    assert os.listdir(tmp_path) == []


def test_the_marks_can_be_asked_of_anything(tmp_path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert not overlay.is_whiteout(str(tmp_path / "link"))
    assert not overlay.is_opaque(str(tmp_path / "link"))
    assert not overlay.is_opaque(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="gone"):
        overlay.is_whiteout(str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="gone"):
        overlay.is_opaque(str(tmp_path / "gone"))
    assert Overlay(["/a", "/b"]).describe("/m").startswith("mount -t overlay -o lowerdir=/a:/b,")
