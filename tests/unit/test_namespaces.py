"""Id maps and kinds: what can be known to be wrong before the kernel is asked."""

import pytest

from labkit.errors import InvalidParameter
from labkit.linux.constants import CloneFlag
from labkit.linux.procfs import NAMESPACES
from labkit.namespaces import KINDS, IdMap, flags, write_maps


def test_all_eight_kinds_have_the_flag_of_their_name() -> None:
    assert set(KINDS) == set(NAMESPACES)
    for kind, flag in KINDS.items():
        assert flag.name == ("NEWNS" if kind == "mnt" else f"NEW{kind.upper()}")


def test_flags_add_up() -> None:
    assert flags([]) == 0
    assert flags(["uts", "net", "uts"]) == CloneFlag.NEWUTS | CloneFlag.NEWNET
    with pytest.raises(InvalidParameter, match="no namespace kind 'network'"):
        flags(["network"])


def test_a_map_is_written_as_the_kernel_reads_it() -> None:
    assert str(IdMap(0, 100000, 65536)) == "0 100000 65536"
    assert str(IdMap(0, 1000)) == "0 1000 1"
    assert str(IdMap(0, 0, 4294967295)) == "0 0 4294967295", "every id, each as itself"


@pytest.mark.parametrize("length", [0, -1])
def test_a_map_of_no_ids_is_refused(length) -> None:
    with pytest.raises(InvalidParameter, match=f"id map 0 1000 {length}: the length must be"):
        IdMap(0, 1000, length)


@pytest.mark.parametrize("wrong", [(-1, 0, 1), (0, -5, 1), (4294967295, 0, 1), (1, 0, 4294967295)])
def test_ids_outside_the_range_are_refused(wrong) -> None:
    with pytest.raises(InvalidParameter, match="ids go from 0 to 4294967294"):
        IdMap(*wrong)


@pytest.mark.parametrize(
    "other, overlap",
    [
        ((10, 110, 10), False),
        ((9, 110, 10), True),  # inside
        ((10, 109, 10), True),  # outside
        ((0, 200, 1), True),
        ((20, 90, 11), True),
        ((20, 90, 10), False),
    ],
)
def test_maps_that_name_an_id_twice_are_refused(other, overlap) -> None:
    one, two = IdMap(0, 100, 10), IdMap(*other)
    assert one.overlaps(two) == two.overlaps(one) == overlap
    if overlap:
        with pytest.raises(InvalidParameter, match=f"id maps {one} and {two} overlap"):
            write_maps("self", [one, two], [one], setgroups=True)


def test_no_map_and_too_many_are_refused() -> None:
    many = [IdMap(number, number) for number in range(341)]
    for maps in ([], many):
        with pytest.raises(InvalidParameter, match=f"{len(maps)} id maps: the kernel takes 1 to"):
            write_maps("self", maps, [IdMap(0, 0)], setgroups=True)
