"""Messages of rtnetlink, byte by byte and against pyroute2's decoder; no socket, no root."""

import errno
import struct

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from labkit.errors import InvalidParameter
from labkit.linux import netlink, rtnetlink
from labkit.linux.netlink import Nlm, attribute, attributes
from labkit.linux.rtnetlink import Address, Ifla, Link, Route, Rtm, Rtnetlink


class Recorder(Rtnetlink):
    """Keeps the requests instead of sending them; every link has index 7."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, bytes]] = []

    def request(self, kind: int, flags: int, body: bytes, what: str) -> list[bytes]:
        if kind == Rtm.GETLINK:
            return [struct.pack("=BxHiII", 0, 1, 7, 0, 0) + attribute(Ifla.IFNAME, "any")]
        self.sent.append((kind, flags, body))
        return []


def decode(message: type, sent: tuple[int, int, bytes]) -> dict:
    """pyroute2's reading of a body: fields, and attributes as a nested dictionary."""
    kind, flags, body = sent
    raw = struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body
    decoded = message(raw)
    decoded.decode()
    return plain(decoded)


def plain(value):
    """Attribute lists as dictionaries, all the way down."""
    if not isinstance(value, dict):
        return value
    fields = {key: item for key, item in value.items() if key not in ("attrs", "header")}
    return fields | {name: plain(item) for name, item in value.get("attrs", ())}


@pytest.fixture
def nl() -> Recorder:
    return Recorder()


def test_attributes_are_padded_and_come_back() -> None:
    raw = attribute(1, "abc") + attribute(2, 5) + attribute(3, b"12345")
    assert len(raw) == 8 + 8 + 12
    assert attributes(raw) == {1: b"abc\0", 2: struct.pack("=I", 5), 3: b"12345"}


def test_a_broken_attribute_does_not_go_round_for_ever() -> None:
    assert attributes(bytes(8)) == {0: b""}


def test_a_veth_pair_is_one_message_as_pyroute2_reads_it(nl: Recorder) -> None:
    nl.veth_add(
        "host0", "eth0", master="br0", up=True, mtu=1400, peer_mac="02:42:0a:09:00:02",
        peer_netns_fd=5,
    )  # fmt: skip
    (sent,) = nl.sent
    assert sent[:2] == (Rtm.NEWLINK, Nlm.CREATE | Nlm.EXCL)
    near = decode(ifinfmsg, sent)
    assert (near["IFLA_IFNAME"], near["IFLA_MASTER"], near["IFLA_MTU"]) == ("host0", 7, 1400)
    assert (near["flags"], near["change"]) == (1, 1)
    assert near["IFLA_NUM_TX_QUEUES"] == near["IFLA_NUM_RX_QUEUES"] == 1
    assert near["IFLA_LINKINFO"]["IFLA_INFO_KIND"] == "veth"
    far = near["IFLA_LINKINFO"]["IFLA_INFO_DATA"]["VETH_INFO_PEER"]
    assert (far["IFLA_IFNAME"], far["IFLA_NET_NS_FD"], far["IFLA_MTU"]) == ("eth0", 5, 1400)
    assert far["IFLA_ADDRESS"] == "02:42:0a:09:00:02"
    assert far["IFLA_NUM_TX_QUEUES"] == far["IFLA_NUM_RX_QUEUES"] == 1
    assert (far["flags"], far["change"]) == (0, 0)


def test_a_peer_can_go_to_the_namespace_of_a_process(nl: Recorder) -> None:
    nl.veth_add("host0", "eth0", peer_pid=99)
    near = decode(ifinfmsg, nl.sent[0])
    far = near["IFLA_LINKINFO"]["IFLA_INFO_DATA"]["VETH_INFO_PEER"]
    assert far["IFLA_NET_NS_PID"] == 99 and near["change"] == 1 and near["flags"] == 0


def test_a_bridge_needs_only_its_kind(nl: Recorder) -> None:
    nl.link_add("br0", "bridge", up=True)
    message = decode(ifinfmsg, nl.sent[0])
    assert message["IFLA_LINKINFO"] == {"IFLA_INFO_KIND": "bridge"}
    assert message["IFLA_IFNAME"] == "br0" and message["flags"] == 1


def test_a_link_is_changed_only_where_asked(nl: Recorder) -> None:
    nl.link_set("eth0", mtu=1300)
    nl.link_set("eth0", up=False, new_name="eth1", master="", netns_fd=4)
    first, second = (decode(ifinfmsg, sent) for sent in nl.sent)
    assert (first["index"], first["change"], first["IFLA_MTU"]) == (7, 0, 1300)
    assert "IFLA_IFNAME" not in first and "IFLA_MASTER" not in first
    assert (second["flags"], second["change"]) == (0, 1)
    assert second["IFLA_IFNAME"] == "eth1" and second["IFLA_NET_NS_FD"] == 4
    assert second["IFLA_MASTER"] == 0


@pytest.mark.parametrize("address", ["10.9.0.2/24", "fd00::2/64", "10.9.0.2"])
def test_an_address_is_sent_as_pyroute2_reads_it(nl: Recorder, address: str) -> None:
    nl.address_add("eth0", address)
    message = decode(ifaddrmsg, nl.sent[0])
    host, _, length = address.partition("/")
    assert message["IFA_LOCAL"] == message["IFA_ADDRESS"] == host
    assert (message["index"], message["prefixlen"]) == (7, int(length or 32))


def test_a_default_route_goes_to_a_gateway(nl: Recorder) -> None:
    nl.route_add("default", gateway="10.9.0.1")
    message = decode(rtmsg, nl.sent[0])
    assert (message["dst_len"], message["RTA_GATEWAY"]) == (0, "10.9.0.1")
    assert (message["table"], message["scope"], message["type"]) == (254, 0, 1)


def test_a_route_to_a_device_has_link_scope(nl: Recorder) -> None:
    nl.route_add("fd01::/48", device="eth0")
    message = decode(rtmsg, nl.sent[0])
    assert (message["RTA_DST"], message["dst_len"], message["RTA_OIF"]) == ("fd01::", 48, 7)
    assert (message["scope"], message["family"]) == (253, 10)


def test_a_link_is_read() -> None:
    info = attribute(rtnetlink.INFO_KIND, "veth")
    body = struct.pack("=BxHiII", 0, 1, 3, 1, 0) + attribute(Ifla.IFNAME, "eth0")
    body += attribute(Ifla.LINKINFO, info) + attribute(Ifla.ADDRESS, bytes(range(6)))
    body += attribute(Ifla.LINK, 9) + attribute(Ifla.MTU, 1500) + attribute(Ifla.MASTER, 2)
    link = Link(body)
    assert (link.index, link.name, link.kind, link.up) == (3, "eth0", "veth", True)
    assert (link.mtu, link.master, link.peer) == (1500, 2, 9)
    assert link.address == "00:01:02:03:04:05"


def test_the_local_end_of_an_address_is_shown() -> None:
    body = struct.pack("=BBBBI", 2, 24, 0, 0, 4)
    body += attribute(1, bytes([10, 0, 0, 255])) + attribute(2, bytes([10, 0, 0, 1]))
    assert repr(Address(body)) == "<Address 10.0.0.1/24 on link 4>"


def test_a_route_is_read() -> None:
    head = struct.pack("=8BI", 2, 16, 0, 0, 254, 3, 0, 1, 0)
    gateway, device = attribute(5, bytes([10, 9, 0, 1])), attribute(4, 3)
    assert repr(Route(head + attribute(1, bytes([10, 1, 0, 0])) + gateway)) == (
        "<Route 10.1.0.0/16 via 10.9.0.1>"
    )
    assert repr(Route(head + device)) == "<Route default via link 3>"


def error(number: int, flags: int, rest: bytes) -> OSError | None:
    try:
        netlink._check(flags, struct.pack("=i", -number) + rest, "eth0")
    except OSError as caught:
        return caught
    return None


def test_the_kernels_sentence_is_in_the_error_whether_the_request_is_repeated_or_not() -> None:
    header = struct.pack("=IHHII", 24, 16, 0, 1, 0)
    sentence = attribute(1, "no such thing")
    capped = error(errno.EINVAL, Nlm.CAPPED | Nlm.ACK_TLVS, header + sentence)
    whole = error(errno.EINVAL, Nlm.ACK_TLVS, header + bytes(8) + sentence)
    for caught in (capped, whole):
        assert str(caught) == "[Errno 22] Invalid argument: 'eth0: no such thing'"
    assert str(error(errno.ENODEV, Nlm.CAPPED, header)) == "[Errno 19] No such device: 'eth0'"
    assert error(0, 0, b"") is None


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda nl: nl.link_add("", "dummy"), "'' is no link name"),
        (lambda nl: nl.link_add("sixteen-bytes-xx", "dummy"), "'sixteen-bytes-xx' is no link name"),
        (lambda nl: nl.link_add("a/b", "dummy"), "'a/b' is no link name"),
        (lambda nl: nl.link_add("a b", "dummy"), "'a b' is no link name"),
        (lambda nl: nl.veth_add("ok", ".."), "'..' is no link name"),
        (lambda nl: nl.link_set("eth0", mac="02:42"), "'02:42' is no MAC address"),
        (lambda nl: nl.link_set("eth0", mac="zz:42:0a:09:00:02"), "is no MAC address"),
        (lambda nl: nl.address_add("eth0", "10.0.0.300/24"), "'10.0.0.300/24' is no IP address"),
        (lambda nl: nl.address_add("eth0", "10.0.0.3/33"), "no prefix length in 0..32"),
        (lambda nl: nl.address_add("eth0", "10.0.0.3/"), "no prefix length in 0..32"),
        (lambda nl: nl.address_add("eth0", "fd00::1/x"), "no prefix length in 0..128"),
        (lambda nl: nl.route_add("default"), "without a gateway and without a device"),
        (lambda nl: nl.route_add("10.0.0.0/8", gateway="fd00::1"), "gateway 'fd00::1'"),
        (lambda nl: nl.route_add("default", gateway="10.0.0.1/24"), "gateway '10.0.0.1/24'"),
    ],
)
def test_what_can_never_be_right_is_not_sent(nl: Recorder, ask, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        ask(nl)
    assert nl.sent == []
