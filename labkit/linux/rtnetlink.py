"""rtnetlink(7): the links, addresses and routes of one network namespace.

A veth pair is one message, and the kernel puts the far end straight into the other namespace:

    RTM_NEWLINK  ifinfomsg UP
      IFNAME "host0"  MASTER 7  NUM_TX_QUEUES 1  NUM_RX_QUEUES 1
      LINKINFO  KIND "veth"
                DATA  PEER  ifinfomsg (not UP: ENOTCONN, its other end is not there yet)
                            IFNAME "eth0"  NET_NS_FD 5  NUM_TX_QUEUES 1  NUM_RX_QUEUES 1

Moving a finished link into a namespace costs two RCU grace periods, and so does the default number
of queues: that is why. Deleting one waits, too; a link that dies with its namespace does not.

Here: what a container's network needs. Not here: the message format (netlink), events, VLANs,
neighbours, policy rules, and entering namespaces: the socket stays where it was opened.
"""

import socket
import struct
from enum import IntEnum

from labkit.errors import InvalidParameter
from labkit.linux.netlink import Netlink, Nlm, attribute, attributes


class Rtm(IntEnum):
    """<linux/rtnetlink.h>: message types."""

    NEWLINK, DELLINK, GETLINK = 16, 17, 18
    NEWADDR, GETADDR = 20, 22
    NEWROUTE, GETROUTE = 24, 26


class Ifla(IntEnum):
    """<linux/if_link.h>: attributes of links."""

    ADDRESS, IFNAME, MTU, LINK, MASTER = 1, 3, 4, 5, 10
    LINKINFO, NET_NS_PID, NET_NS_FD = 18, 19, 28
    NUM_TX_QUEUES, NUM_RX_QUEUES = 31, 32


INFO_KIND, INFO_DATA, VETH_PEER = 1, 2, 1  #: inside LINKINFO, and inside veth's DATA
IFA_ADDRESS, IFA_LOCAL = 1, 2  #: <linux/if_addr.h>
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 7, 15  #: <linux/rtnetlink.h>
_UP = 1  #: <linux/if.h> IFF_UP
_NODAD = 2  #: IFA_F_NODAD: an IPv6 address that is usable at once
_TABLE_MAIN, _PROTO_BOOT, _SCOPE_UNIVERSE, _SCOPE_LINK, _UNICAST = 254, 3, 0, 253, 1
_NEW = Nlm.CREATE | Nlm.EXCL
_ONE_QUEUE = attribute(Ifla.NUM_TX_QUEUES, 1) + attribute(Ifla.NUM_RX_QUEUES, 1)


# ---- what the kernel tells --------------------------------------------------


class Link:
    """address is the MAC; master and peer are indexes or 0, the peer's in its own namespace."""

    __slots__ = ("index", "name", "kind", "up", "mtu", "address", "master", "peer")

    def __init__(self, body: bytes) -> None:
        _, _, self.index, flags, _ = struct.unpack_from("=BxHiII", body)
        found = attributes(body[16:])
        self.up = bool(flags & _UP)
        self.name = _text(found[Ifla.IFNAME])
        self.kind = _text(attributes(found.get(Ifla.LINKINFO, b"")).get(INFO_KIND, b""))
        self.mtu, self.master = _int(found, Ifla.MTU), _int(found, Ifla.MASTER)
        self.peer = _int(found, Ifla.LINK) if self.kind == "veth" else 0
        self.address = found.get(Ifla.ADDRESS, b"").hex(":")

    def __repr__(self) -> str:
        return f"<Link {self.index} {self.name} {self.kind} {'up' if self.up else 'down'}>"


class Address:
    """An address with its prefix length, "10.0.0.2/24", on the link of that index."""

    __slots__ = ("index", "address")

    def __init__(self, body: bytes) -> None:
        family, length, _, _, self.index = struct.unpack_from("=BBBBI", body)
        found = attributes(body[8:])
        raw = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
        self.address = f"{socket.inet_ntop(family, raw)}/{length}"

    def __repr__(self) -> str:
        return f"<Address {self.address} on link {self.index}>"


class Route:
    """destination is "default" or "10.0.0.0/24"; gateway and source are "" when there is none."""

    __slots__ = ("destination", "gateway", "index", "source", "table")

    def __init__(self, body: bytes) -> None:
        family, length, _, _, table, *_ = struct.unpack_from("=8BI", body)
        found = attributes(body[12:])
        text = {k: socket.inet_ntop(family, v) for k, v in found.items() if k in _ROUTE_ADDRESSES}
        self.destination = f"{text[RTA_DST]}/{length}" if RTA_DST in text else "default"
        self.gateway, self.source = text.get(RTA_GATEWAY, ""), text.get(RTA_PREFSRC, "")
        self.index, self.table = _int(found, RTA_OIF), _int(found, RTA_TABLE) or table

    def __repr__(self) -> str:
        return f"<Route {self.destination} via {self.gateway or f'link {self.index}'}>"


_ROUTE_ADDRESSES = (RTA_DST, RTA_GATEWAY, RTA_PREFSRC)


# ---- pieces of messages -----------------------------------------------------


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode()


def _int(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "little")


def _ifinfomsg(index: int = 0, *, up: bool | None = None) -> bytes:
    """struct ifinfomsg; up: None leaves the link as it is."""
    return struct.pack("=BxHiII", 0, 0, index, bool(up), 0 if up is None else _UP)


def _ifname(name: str) -> bytes:
    if not 0 < len(name.encode()) < 16 or set(name) & set("/: \t\n\v\f\r") or name in (".", ".."):
        raise InvalidParameter(f"{name!r} is no link name: 1 to 15 bytes, no blank, slash or colon")
    return attribute(Ifla.IFNAME, name)


def _mac(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.replace(":", " "))
    except ValueError:
        raw = b""
    if len(raw) != 6:
        raise InvalidParameter(f"{text!r} is no MAC address of six bytes, like 02:42:ac:11:00:02")
    return attribute(Ifla.ADDRESS, raw)


def _prefix(text: str) -> tuple[int, bytes, int]:
    """("10.0.0.2/24") -> (AF_INET, 4 bytes, 24); without a length the whole address is meant."""
    address, slash, length = text.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        raw = socket.inet_pton(family, address)
    except OSError:
        raise InvalidParameter(f"{text!r} is no IP address") from None
    bits = 8 * len(raw)
    if slash and not (length.isascii() and length.isdigit() and int(length) <= bits):
        raise InvalidParameter(f"{text!r} has no prefix length in 0..{bits}")
    return family, raw, int(length) if slash else bits


# ---- the socket -------------------------------------------------------------


class Rtnetlink(Netlink):
    """Every method is one message, or one dump; what the kernel refuses is an OSError."""

    __slots__ = ()

    def __enter__(self) -> "Rtnetlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def links(self) -> list[Link]:
        """All links, by index."""
        return [Link(body) for body in self.dump(Rtm.GETLINK, _ifinfomsg(), "links")]

    def link(self, name: str) -> Link:
        """The link of that name; ENODEV."""
        return Link(self.request(Rtm.GETLINK, 0, _ifinfomsg() + _ifname(name), name)[0])

    def link_add(self, name: str, kind: str, *, up: bool = False) -> None:
        """A new link that needs no more than its kind: "bridge", "dummy"; EEXIST."""
        info = attribute(Ifla.LINKINFO, attribute(INFO_KIND, kind))
        self.request(Rtm.NEWLINK, _NEW, _ifinfomsg(up=up) + _ifname(name) + info, name)

    def veth_add(
        self,
        name: str,
        peer: str,
        *,
        master: str | None = None,
        up: bool = False,
        mtu: int | None = None,
        peer_mac: str | None = None,
        peer_netns_fd: int | None = None,
        peer_pid: int | None = None,
    ) -> None:
        """A veth pair, veth(4): `name` here, `peer` here or in the namespace of that fd or process.

        `up` is for the near end; the far end comes up from inside. EEXIST does not say which name.
        """
        size = b"" if mtu is None else attribute(Ifla.MTU, mtu)
        far = _ifinfomsg() + _ifname(peer) + _ONE_QUEUE + size
        far += b"" if peer_mac is None else _mac(peer_mac)
        far += b"" if peer_netns_fd is None else attribute(Ifla.NET_NS_FD, peer_netns_fd)
        far += b"" if peer_pid is None else attribute(Ifla.NET_NS_PID, peer_pid)
        info = attribute(INFO_KIND, "veth")
        info += attribute(INFO_DATA, attribute(VETH_PEER, far))
        near = _ifinfomsg(up=up) + _ifname(name) + _ONE_QUEUE + size
        near += b"" if master is None else attribute(Ifla.MASTER, self.link(master).index)
        body = near + attribute(Ifla.LINKINFO, info)
        self.request(Rtm.NEWLINK, _NEW, body, f"{name} and {peer}")

    def link_set(
        self,
        name: str,
        *,
        up: bool | None = None,
        new_name: str | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        master: str | None = None,
        netns_fd: int | None = None,
    ) -> None:
        """Change what is given; master "" takes the link out of its bridge. ENODEV, EBUSY, ..."""
        body = _ifinfomsg(self.link(name).index, up=up)
        body += b"" if new_name is None else _ifname(new_name)
        body += b"" if mtu is None else attribute(Ifla.MTU, mtu)
        body += b"" if mac is None else _mac(mac)
        if master is not None:
            body += attribute(Ifla.MASTER, self.link(master).index if master else 0)
        body += b"" if netns_fd is None else attribute(Ifla.NET_NS_FD, netns_fd)
        self.request(Rtm.NEWLINK, 0, body, name)

    def link_del(self, name: str) -> None:
        """Delete a link (of a veth pair: both ends) and wait until that is done; ENODEV."""
        self.request(Rtm.DELLINK, 0, _ifinfomsg() + _ifname(name), name)

    def addresses(self) -> list[Address]:
        """All addresses, IPv4 and IPv6."""
        return [Address(body) for body in self.dump(Rtm.GETADDR, bytes(8), "addresses")]

    def address_add(self, name: str, address: str) -> None:
        """Put "10.0.0.2/24" on the link, or an IPv6 one without duplicate detection; EEXIST."""
        family, raw, length = _prefix(address)
        flags = _NODAD if family == socket.AF_INET6 else 0
        body = struct.pack("=BBBBI", family, length, flags, 0, self.link(name).index)
        body += attribute(IFA_LOCAL, raw) + attribute(IFA_ADDRESS, raw)
        self.request(Rtm.NEWADDR, _NEW, body, f"{address} on {name}")

    def routes(self) -> list[Route]:
        """The routes of the main table, IPv4 and IPv6."""
        found = [Route(body) for body in self.dump(Rtm.GETROUTE, bytes(12), "routes")]
        return [route for route in found if route.table == _TABLE_MAIN]

    def route_add(
        self, destination: str, *, gateway: str | None = None, device: str | None = None
    ) -> None:
        """Send `destination` ("default" or "10.9.0.0/16") to a gateway, a device, or both.

        ENETUNREACH when no address of ours reaches the gateway.
        """
        if gateway is None and device is None:
            raise InvalidParameter(f"route to {destination} without a gateway and without a device")
        via = None if gateway is None else _prefix(gateway)
        everything = (via[0] if via else socket.AF_INET, b"", 0)
        family, raw, length = everything if destination == "default" else _prefix(destination)
        if via and (via[0] != family or "/" in str(gateway)):
            raise InvalidParameter(f"gateway {gateway!r} is no address like those in {destination}")
        scope = _SCOPE_UNIVERSE if via else _SCOPE_LINK
        body = struct.pack(
            "=8BI", family, length, 0, 0, _TABLE_MAIN, _PROTO_BOOT, scope, _UNICAST, 0
        )
        body += attribute(RTA_DST, raw) if raw else b""
        body += attribute(RTA_GATEWAY, via[1]) if via else b""
        body += b"" if device is None else attribute(RTA_OIF, self.link(device).index)
        self.request(Rtm.NEWROUTE, _NEW, body, f"route to {destination}")
