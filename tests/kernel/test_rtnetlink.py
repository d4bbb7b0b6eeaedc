"""Links, addresses and routes in network namespaces of their own; pyroute2 is second witness."""

import os

import pyroute2
import pytest

pytestmark = pytest.mark.root

NET = """
from labkit.linux.rtnetlink import Rtnetlink
syscalls.unshare(CloneFlag.NEWNET)

def netns():  # a process that only holds a network namespace; it ends with us
    ready, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        syscalls.prctl(Prctl.SET_PDEATHSIG, signal.SIGKILL)
        syscalls.unshare(CloneFlag.NEWNET)
        os.write(write, b"x")
        while True:
            signal.pause()
    os.read(ready, 1)
    return pid

def inside(pid, function):  # run in that namespace, in a process of its own
    child = os.fork()
    if child == 0:
        with open(f"/proc/{pid}/ns/net") as file:
            syscalls.setns(file.fileno(), CloneFlag.NEWNET)
        with Rtnetlink() as nl:
            function(nl)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def refusal(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except OSError as error:
        return str(error)
    return "none"
"""


@pytest.fixture
def net(program):
    """Like `program`, in a new network namespace; argv[1] is where pyroute2 is installed."""
    site = os.path.dirname(os.path.dirname(pyroute2.__file__))

    def run(code: str):
        return program(NET + code, site)

    return run


def test_a_new_namespace_has_only_lo_and_it_is_down(net) -> None:
    net("""
with Rtnetlink() as nl:
    link, = nl.links()
    assert (link.index, link.name, link.up) == (1, "lo", False)
    assert nl.addresses() == [] and nl.routes() == []
    nl.link_set("lo", up=True)
    assert nl.link("lo").up
    assert "127.0.0.1/8" in [address.address for address in nl.addresses()]
""")


def test_a_veth_pair_reaches_into_another_namespace_in_one_message(net) -> None:
    net("""
pid = netns()
with Rtnetlink() as nl, open(f"/proc/{pid}/ns/net") as file:
    nl.link_add("br0", "bridge", up=True)
    nl.address_add("br0", "10.9.0.1/24")
    nl.veth_add("host0", "eth0", master="br0", up=True, mtu=1400,
                peer_mac="02:42:0a:09:00:02", peer_netns_fd=file.fileno())
    host0, br0 = nl.link("host0"), nl.link("br0")
    assert (host0.kind, host0.up, host0.master, host0.mtu) == ("veth", True, br0.index, 1400)
    assert "eth0" not in [link.name for link in nl.links()]

def far(nl):
    eth0 = nl.link("eth0")
    assert (eth0.kind, eth0.up, eth0.mtu) == ("veth", False, 1400)
    assert (eth0.address, eth0.peer) == ("02:42:0a:09:00:02", host0.index)
    nl.address_add("eth0", "10.9.0.2/24")
    nl.link_set("eth0", up=True)
    nl.route_add("default", gateway="10.9.0.1")
    assert [r.gateway for r in nl.routes() if r.destination == "default"] == ["10.9.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"hello", ("10.9.0.1", 9999))

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    udp.bind(("10.9.0.1", 9999))
    udp.settimeout(20)
    inside(pid, far)
    assert udp.recvfrom(99)[0] == b"hello"
""")


def test_a_peer_can_be_sent_to_a_process(net) -> None:
    net("""
pid = netns()
with Rtnetlink() as nl:
    nl.veth_add("host0", "eth0", peer_pid=pid)
inside(pid, lambda nl: nl.link("eth0"))
""")


def test_the_far_end_goes_with_its_namespace(net) -> None:
    net("""
pid = netns()
with Rtnetlink() as nl:
    nl.veth_add("host0", "eth0", peer_pid=pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 20
    while "host0" in [link.name for link in nl.links()]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
""")


def test_a_link_is_renamed_moved_and_deleted(net) -> None:
    net("""
pid = netns()
with Rtnetlink() as nl, open(f"/proc/{pid}/ns/net") as file:
    nl.veth_add("d0", "p0")
    nl.link_set("d0", new_name="d1", mac="02:00:00:00:00:07", mtu=900)
    assert (nl.link("d1").address, nl.link("d1").mtu) == ("02:00:00:00:00:07", 900)
    nl.link_set("d1", netns_fd=file.fileno())
    assert sorted(link.name for link in nl.links()) == ["lo", "p0"]
def end(nl):
    nl.link_del("d1")
    assert [link.name for link in nl.links()] == ["lo"]
inside(pid, end)
""")


def test_a_link_joins_and_leaves_a_bridge(net) -> None:
    net("""
with Rtnetlink() as nl:
    nl.link_add("br0", "bridge")
    nl.veth_add("d0", "p0")
    nl.link_set("d0", master="br0")
    assert nl.link("d0").master == nl.link("br0").index
    nl.link_set("d0", master="")
    assert nl.link("d0").master == 0
""")


def test_ipv6_is_usable_at_once(net) -> None:
    net("""
with Rtnetlink() as nl:
    nl.link_add("d0", "bridge", up=True)
    nl.address_add("d0", "fd00::1/64")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("fd00::1", 0))
    nl.route_add("fd01::/48", gateway="fd00::9")
    nl.route_add("fd02::/48", device="d0")
    found = {route.destination: route.gateway for route in nl.routes()}
    assert found["fd01::/48"] == "fd00::9" and found["fd02::/48"] == ""
""")


def test_many_links_come_in_one_dump(net) -> None:
    net("""
with Rtnetlink() as nl:
    for number in range(30):
        nl.veth_add(f"d{number}", f"p{number}")
    names = {link.name for link in nl.links()}
    assert names == {"lo", *(f"{end}{number}" for end in "dp" for number in range(30))}
""")


def test_the_socket_stays_in_its_namespace(net) -> None:
    net("""
with Rtnetlink() as nl:
    nl.link_add("d0", "bridge")
    syscalls.unshare(CloneFlag.NEWNET)
    assert nl.link("d0").kind == "bridge"
    with Rtnetlink() as other:
        assert [link.name for link in other.links()] == ["lo"]
""")


def test_what_the_kernel_refuses_is_named_with_its_reason(net) -> None:
    net("""
with Rtnetlink() as nl:
    nl.link_set("lo", up=True)
    nl.link_add("br0", "bridge")
    nl.address_add("br0", "10.9.0.1/24")
    told = [
        refusal(nl.link, "nope"),
        refusal(nl.link_add, "br0", "bridge"),
        refusal(nl.link_add, "x0", "frob"),
        refusal(nl.link_del, "nope"),
        refusal(nl.veth_add, "v0", "v1", master="nope"),
        refusal(nl.veth_add, "v0", "v1", peer_netns_fd=999),
        refusal(nl.address_add, "br0", "10.9.0.1/24"),
        refusal(nl.route_add, "default", gateway="1.2.3.4"),
        refusal(nl.link_set, "br0", mtu=1),
    ]
    expected = [
        ("[Errno 19]", "nope"), ("[Errno 17]", "br0"), ("[Errno 95]", "x0: Unknown device type"),
        ("[Errno 19]", "nope"), ("[Errno 19]", "nope"), ("[Errno ", "v0 and v1"),
        ("[Errno 17]", "10.9.0.1/24 on br0"), ("[Errno 101]", "route to default"),
        ("[Errno 22]", "br0: mtu less than device minimum"),
    ]
    for text, parts in zip(told, expected, strict=True):
        assert all(part in text for part in parts), text
    assert sorted(link.name for link in nl.links()) == ["br0", "lo"]
""")


def test_without_privileges_nothing_is_made(net) -> None:
    net("""
os.setgid(65534)
os.setuid(65534)
with Rtnetlink() as nl:
    assert "[Errno 1]" in refusal(nl.link_add, "d0", "bridge")
    assert [link.name for link in nl.links()] == ["lo"]
""")


def test_pyroute2_sees_the_same(net) -> None:
    net("""
pid = netns()
with Rtnetlink() as nl:
    nl.link_set("lo", up=True)
    nl.link_add("br0", "bridge", up=True)
    nl.veth_add("host0", "eth0", master="br0", up=True, peer_pid=pid)
    nl.address_add("br0", "10.9.0.1/24")
    nl.route_add("10.10.0.0/16", gateway="10.9.0.7")
    ours = (
        {(l.index, l.name, l.kind or None, l.up, l.mtu, l.address, l.master) for l in nl.links()},
        {(a.index, a.address) for a in nl.addresses()},
        {(r.destination, r.gateway, r.index) for r in nl.routes()},
    )
sys.path.append(sys.argv[1])
from pyroute2 import IPRoute
with IPRoute() as ip:
    queues = {l.get_attr("IFLA_IFNAME"): l.get_attr("IFLA_NUM_TX_QUEUES") for l in ip.get_links()}
    theirs = (
        {
            (l["index"], l.get_attr("IFLA_IFNAME"), l.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND"),
             bool(l["flags"] & 1), l.get_attr("IFLA_MTU"), l.get_attr("IFLA_ADDRESS"),
             l.get_attr("IFLA_MASTER") or 0)
            for l in ip.get_links()
        },
        {
            (a["index"], f"{a.get_attr('IFA_LOCAL') or a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}")
            for a in ip.get_addr()
        },
        {
            (f"{r.get_attr('RTA_DST')}/{r['dst_len']}", r.get_attr("RTA_GATEWAY") or "",
             r.get_attr("RTA_OIF"))
            for family in (socket.AF_INET, socket.AF_INET6)
            for r in ip.get_routes(table=254, family=family)
        },
    )
for mine, other in zip(ours, theirs):
    assert mine == other, (mine ^ other)
assert queues["host0"] == 1
""")
