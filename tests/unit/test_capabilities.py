"""Names and masks of capabilities; the sets themselves are in tests/kernel."""

import pytest

from labkit.errors import InvalidParameter
from labkit.linux import capabilities
from labkit.linux.capabilities import ALL, DOCKER_DEFAULT, Capability, Sets


def test_there_are_forty_one_without_a_gap() -> None:
    assert sorted(Capability) == list(range(41))


@pytest.mark.parametrize("text", ["CAP_NET_ADMIN", "NET_ADMIN", "net_admin", "cap_net_admin"])
def test_names_are_read_as_people_write_them(text: str) -> None:
    assert capabilities.parse([text]) == {Capability.NET_ADMIN}


def test_all_means_all() -> None:
    assert capabilities.parse(["all"]) == ALL


@pytest.mark.parametrize("text", ["CAP_FLY", "", "CAP_", "NET ADMIN", "12"])
def test_an_unknown_name_is_named(text: str) -> None:
    with pytest.raises(InvalidParameter, match=f"unknown capability {text!r}"):
        capabilities.parse(["KILL", text])


def test_names_come_in_the_kernels_order() -> None:
    assert capabilities.names({Capability.BPF, Capability.CHOWN}) == ["CAP_CHOWN", "CAP_BPF"]


def test_dockers_default_has_no_way_to_administer() -> None:
    assert len(DOCKER_DEFAULT) == 14
    assert not DOCKER_DEFAULT & capabilities.parse(["SYS_ADMIN", "NET_ADMIN", "SYS_MODULE"])


def test_sets_are_compared_by_what_they_hold() -> None:
    one = Sets(effective=[Capability.KILL], permitted=[Capability.KILL])
    assert one == Sets(effective={Capability.KILL}, permitted={Capability.KILL})
    assert one != Sets(effective={Capability.KILL})
    assert repr(one) == "<Sets effective=20 permitted=20 inheritable=0 bounding=0 ambient=0>"


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (Sets(ambient=[Capability.KILL]), "ambient CAP_KILL not in both permitted and inheritable"),
        (Sets(effective=[Capability.KILL]), "effective CAP_KILL not in permitted"),
    ],
)
def test_sets_that_contradict_each_other_change_nothing(sets: Sets, message: str) -> None:
    before = capabilities.read()
    with pytest.raises(InvalidParameter, match=message):
        capabilities.apply(sets)
    assert capabilities.read() == before
