"""Overlays that can never be mounted, refused before the file system is looked at."""

import pytest

from labkit.errors import InvalidParameter
from labkit.overlay import MAX_LAYERS, Overlay


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((["/a,b", "/c"],), "layer '/a,b': overlay options cannot hold ','"),
        ((["/a:b", "/c"],), "layer '/a:b': overlay options cannot hold ':'"),
        ((["/a"], "/u\\x", "/w"), "overlay options cannot hold"),
        ((["a", "/b"],), "layer 'a' is not an absolute path"),
        ((["/a"], "u", "/w"), "layer 'u' is not an absolute path"),
        ((["/" + "x" * 255, "/b"],), "is longer than 255 bytes"),
        ((["/a"],), "1 lower layers: the kernel takes 2 to 500"),
        (([], "/u", "/w"), "0 lower layers: the kernel takes 1 to 500"),
        ((["/a"] * (MAX_LAYERS + 1),), "501 lower layers: the kernel takes 2 to 500"),
        ((["/a"], "/u"), "upperdir /u and workdir None: both or neither"),
        ((["/a"], None, "/w"), "upperdir None and workdir /w: both or neither"),
        (("/a",), "lowerdirs '/a' is one path, not a list of paths"),
    ],
)
def test_what_can_never_be_mounted_is_refused(arguments, words) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Overlay(*arguments)
    assert words in str(caught.value)


def test_volatile_needs_an_upper_layer() -> None:
    with pytest.raises(InvalidParameter, match="volatile is about writes: it needs an upperdir"):
        Overlay(["/a", "/b"], volatile=True)


def test_an_overlay_describes_itself_as_the_command() -> None:
    layers = Overlay(["/top", "/base"], "/upper", "/work", volatile=True)
    assert layers.describe("/merged") == (
        "mount -t overlay -o lowerdir=/top:/base,redirect_dir=off,index=off,metacopy=off,"
        "upperdir=/upper,workdir=/work,volatile overlay /merged"
    )
