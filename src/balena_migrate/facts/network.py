# SPDX-License-Identifier: Apache-2.0
"""The network as it is now: interfaces, addresses, default routes, the Wi-Fi network in use, name servers.

Read from /sys/class/net and from the kernel by rtnetlink(7), since old systems have no `ip -json` and the kit has
no `ip`. Nothing here is secret.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.blockdev import read_number
from balena_migrate.core.errors import CommandError, FileError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.facts.network_driver import find_foreign


class InterfaceKind(StrEnum):
    ETHERNET = "ethernet"
    WIFI = "wifi"
    MODEM = "modem"
    VLAN = "vlan"
    BRIDGE = "bridge"
    BOND = "bond"
    LOOPBACK = "loopback"
    VIRTUAL = "virtual"


@dataclass(frozen=True, kw_only=True)
class Interface:
    """`mac_permanent` says whether the hardware address is the device's own and survives a restart.

    NetworkManager sets that of Wi-Fi anew after each scan, mostly to the device's own.
    """

    name: str
    kind: InterfaceKind
    index: int = 0
    mac: str = ""
    mac_permanent: bool = False
    driver: str = ""
    foreign_driver: str = ""
    """Why another kernel may lack the driver, "" if nothing says so."""
    lower: tuple[str, ...] = ()
    """The interfaces that this one is made of: a bridge's and a bond's ports, a VLAN's carrier."""
    path: str = ""
    """Where the device is attached, in udev's words (ID_PATH)."""
    up: bool = False
    ssid: bytes = b""
    """The Wi-Fi network that it is connected to now."""
    frequency_mhz: int = 0
    """That of this network's channel; 0 if it is not known."""
    connection: str = ""
    """The UUID of NetworkManager's connection that is active on it."""


@dataclass(frozen=True, kw_only=True)
class InterfaceAddress:
    """An address in CIDR form; `dynamic` where it has a lease or came by router advertisement."""

    interface: str
    address: str
    dynamic: bool = False


@dataclass(frozen=True, kw_only=True)
class DefaultRoute:
    interface: str
    gateway: str = ""
    metric: int = 0


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """The network at this moment; without link-local and loopback addresses."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[InterfaceAddress, ...] = ()
    default_routes: tuple[DefaultRoute, ...] = ()
    name_servers: tuple[str, ...] = ()
    country: str = ""
    """The country for Wi-Fi that is in force now, in two letters; "" if it is not known, or none is."""

    def find_interface(self, name: str) -> Interface | None:
        return next((interface for interface in self.interfaces if interface.name == name), None)

    def of_kind(self, kind: InterfaceKind) -> tuple[Interface, ...]:
        return tuple(interface for interface in self.interfaces if interface.kind is kind)

    def below(self, interface: Interface) -> tuple[Interface, ...]:
        """The interface and those that it is made of, down to the devices' own; each once."""
        found = [interface]
        for each in found:
            names = [name for name in each.lower if name not in [known.name for known in found]]
            found += [below for name in names if (below := self.find_interface(name))]
        return tuple(found)

    def online(self) -> Interface | None:
        """The interface that leads to the outside: that of the default route with the lowest metric.

        A tunnel comes last, since something else has to carry it. Without a default route, as behind a proxy, it is the
        only one that may_lead_out.
        """
        pairs = [(self.find_interface(route.interface), route.metric) for route in self.default_routes]
        known = [(found.kind is InterfaceKind.VIRTUAL, metric, found) for found, metric in pairs if found]
        if known:
            return min(known, key=lambda item: item[:2])[2]
        found = self.may_lead_out()
        return found[0] if len(found) == 1 else None

    def may_lead_out(self) -> tuple[Interface, ...]:
        """The interfaces with an address; not bridges, which mostly are those of containers."""
        names = {address.interface for address in self.addresses}
        inner = (InterfaceKind.BRIDGE, InterfaceKind.VIRTUAL)
        return tuple(i for i in self.interfaces if i.name in names and i.kind not in inner)


Dump = Callable[[int, int], bytes]
"""Asks the kernel: takes a netlink message type and an address family, returns the answer's bytes."""

RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_DUMP_REQUEST = 0x301
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_PERMANENT, _IFA_F_TEMPORARY = 0x80, 0x01
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH = 4, 5, 6, 9
_RT_TABLE_MAIN, _RT_TABLE_LOCAL, _RTN_UNICAST = 254, 255, 1
_SIOCGIWESSID = 0x8B1B
_SIOCGIWFREQ = 0x8B05
_FREQUENCY_EXPONENTS = range(10)
_SSID_BUFFER_BYTES = 33
_ANSWER_LIMIT_BYTES = 4 * MIB


@dataclass(frozen=True, kw_only=True)
class Station:
    """The Wi-Fi network that an interface is connected to; empty if there is none."""

    ssid: bytes = b""
    frequency_mhz: int = 0


def read_network_facts(
    system: System, *, dump: Dump | None = None, ask_station: Callable[[str], Station] | None = None
) -> NetworkFacts:
    """The network as it is now. What the kernel does not report is empty. Raises nothing.

    The kernel is asked only about the running system; a test gives `dump` and `ask_station`.
    """
    ask = dump or (dump_netlink if system.is_live else lambda kind, family: b"")
    station = ask_station or (lambda name: read_station(system, name) if system.is_live else Station())
    interfaces = tuple(_interface(system, path.name, station) for path in system.glob("/sys/class/net/*"))
    over_air = system.is_live and any(interface.kind is InterfaceKind.WIFI for interface in interfaces)
    names = {interface.index: interface.name for interface in interfaces}
    families = (socket.AF_INET, socket.AF_INET6)
    return NetworkFacts(
        interfaces=interfaces,
        addresses=tuple(a for f in families for a in parse_addresses(ask(RTM_GETADDR, f), names)),
        default_routes=tuple(r for f in families for r in parse_default_routes(ask(RTM_GETROUTE, f), names)),
        name_servers=_name_servers(system),
        country=parse_iw_country(_ask_iw(system, "reg", "get")) if over_air else "",
    )


def _interface(system: System, name: str, ask_station: Callable[[str], Station]) -> Interface:
    folder = f"/sys/class/net/{name}"

    def value(file: str) -> str:
        try:
            return system.read_text(f"{folder}/{file}").strip()
        except FileError:  # some files cannot be read while an interface is down
            return ""

    kind = _kind(system, folder, value("type"), value("uevent"))
    driver = system.find_link(f"{folder}/device/driver")
    station = ask_station(name) if kind is InterfaceKind.WIFI else Station()
    return Interface(
        name=name,
        kind=kind,
        index=read_number(system, f"{folder}/ifindex"),
        mac=value("address"),
        mac_permanent=value("addr_assign_type") == "0" or value("address") == value("phy80211/macaddress") != "",
        driver=driver.name if driver else "",
        foreign_driver=find_foreign(system, name, driver.name) if driver else "",
        lower=tuple(link.name.removeprefix("lower_") for link in system.glob(f"{folder}/lower_*")),
        path=_udev_path(system, value("ifindex")),
        up=value("operstate") in ("up", "unknown"),
        ssid=station.ssid,
        frequency_mhz=station.frequency_mhz,
        connection=_active_connection(system, value("ifindex")),
    )


def _udev_path(system: System, index: str) -> str:
    """ID_PATH in udev's database (systemd, src/libsystemd/sd-device: "n" and the index of a network interface)."""
    return _find_value(system, f"/run/udev/data/n{index}", "E:ID_PATH")


def _active_connection(system: System, index: str) -> str:
    """What NetworkManager keeps of an interface for its next start (nm-config.c, nm_config_device_state_write)."""
    return _find_value(system, f"/run/NetworkManager/devices/{index}", "connection-uuid")


def _find_value(system: System, path: str, key: str) -> str:
    try:
        match = re.search(rf"^{key}=(.*)$", system.read_text(path), re.MULTILINE)
    except FileError:
        return ""
    return match[1] if match else ""


def _kind(system: System, folder: str, hardware: str, uevent: str) -> InterfaceKind:
    """ARPHRD numbers of `type` (if_arp.h) and the driver's own word in `uevent`."""
    match = re.search(r"^DEVTYPE=(\w+)", uevent, re.MULTILINE)
    named = {"wlan": InterfaceKind.WIFI, "wwan": InterfaceKind.MODEM}.get(match[1] if match else "")
    named = named or next((kind for kind in InterfaceKind if match and match[1] == kind), None)
    if hardware == "772":
        return InterfaceKind.LOOPBACK
    if named:
        return named
    if system.is_dir(f"{folder}/wireless"):
        return InterfaceKind.WIFI
    if hardware == "512":
        return InterfaceKind.MODEM
    return InterfaceKind.ETHERNET if system.exists(f"{folder}/device") else InterfaceKind.VIRTUAL


def _name_servers(system: System) -> tuple[str, ...]:
    """The name servers in use; those behind systemd-resolved where resolv.conf leads to it (127.0.0.53)."""
    own = _resolv_conf(system, "/etc/resolv.conf")
    if all(server.startswith("127.") for server in own):
        return _resolv_conf(system, "/run/systemd/resolve/resolv.conf") or own
    return own


def _resolv_conf(system: System, path: str) -> tuple[str, ...]:
    try:
        return tuple(re.findall(r"^[ \t]*nameserver[ \t]+(\S+)", system.read_text(path), re.MULTILINE))
    except FileError:
        return ()


def read_station(system: System, interface: str) -> Station:
    """By wireless extensions, or from the program iw, for kernels without them; empty if that is missing."""
    found = Station(ssid=read_ssid(interface), frequency_mhz=read_frequency(interface))
    if found.ssid and found.frequency_mhz:
        return found
    told = parse_iw_link(_ask_iw(system, "dev", interface, "link"))
    return Station(ssid=found.ssid or told.ssid, frequency_mhz=found.frequency_mhz or told.frequency_mhz)


def read_ssid(interface: str) -> bytes:
    """The SSID that a Wi-Fi interface is connected to; empty if there is none (wireless.h, SIOCGIWESSID)."""
    buffer = ctypes.create_string_buffer(_SSID_BUFFER_BYTES)
    answer = _ask_wireless(_SIOCGIWESSID, interface, struct.pack("PHH", ctypes.addressof(buffer), len(buffer), 0))
    return buffer.raw[: struct.unpack_from("PHH", answer)[1]] if answer else b""


def read_frequency(interface: str) -> int:
    """The frequency of a Wi-Fi interface's channel in MHz; 0 if it has none (wireless.h, SIOCGIWFREQ)."""
    answer = _ask_wireless(_SIOCGIWFREQ, interface, b"")
    mantissa, exponent = struct.unpack_from("ih", answer) if answer else (0, 0)
    return mantissa * 10**exponent // 1_000_000 if exponent in _FREQUENCY_EXPONENTS else 0


def _ask_wireless(request: int, interface: str, data: bytes) -> bytes:
    """What the kernel answers to a request for an interface; empty if it refuses (wireless.h, struct iwreq)."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return fcntl.ioctl(sock, request, (interface.encode()[:15].ljust(16, b"\0") + data).ljust(40, b"\0"))[16:]
    except OSError:
        return b""


def _ask_iw(system: System, *words: str) -> str:
    try:
        return system.run(["iw", *words], timeout_s=10).text
    except CommandError:
        return ""


def parse_iw_link(text: str) -> Station:
    """The output of `iw dev ... link`, which writes other bytes of an SSID than printable ASCII as \\xNN."""
    ssid = re.search(r"^[ \t]*SSID: (.*)$", text, re.MULTILINE)
    frequency = re.search(r"^[ \t]*freq: ([0-9]{4})", text, re.MULTILINE)
    escaped = ssid[1].encode("utf-8", "surrogateescape") if ssid else b""
    return Station(
        ssid=re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), escaped),
        frequency_mhz=int(frequency[1]) if frequency else 0,
    )


def parse_iw_country(text: str) -> str:
    """The country in the output of `iw reg get`; "" for the world (00), or where only a device has one of its own."""
    match = re.search(r"^country ([A-Z]{2}):", text.partition("phy#")[0], re.MULTILINE)
    return match[1] if match else ""


def dump_netlink(kind: int, family: int) -> bytes:
    """All messages that the kernel answers to a dump request; empty if it refuses (rtnetlink(7))."""
    request = struct.pack("=IHHII", 32, kind, _NLM_F_DUMP_REQUEST, 1, 0) + bytes([family]) + bytes(15)
    parts: list[bytes] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.settimeout(5)
            sock.send(request)
            while sum(map(len, parts)) < _ANSWER_LIMIT_BYTES:
                parts.append(sock.recv(1 << 17))
                if any(kind in (_NLMSG_ERROR, _NLMSG_DONE) for kind, _ in _messages(parts[-1])):
                    break
    except OSError:
        return b""
    return b"".join(parts)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and body of every netlink message; ends at one that is cut off."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if not 16 <= length <= len(data):
            return
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def parse_addresses(data: bytes, names: dict[int, str]) -> tuple[InterfaceAddress, ...]:
    """The addresses of an RTM_GETADDR dump; `names` are the interfaces' names by their index."""
    found = []
    for kind, body in _messages(data):
        if kind != RTM_NEWADDR or len(body) < 8:
            continue
        _, length, flags, _, index = struct.unpack_from("=BBBBI", body)
        values = _attributes(body[8:])
        raw = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
        if raw is None or len(raw) not in (4, 16) or index not in names:
            continue
        address = ipaddress.ip_address(raw)
        if _IFA_FLAGS in values:
            flags = _number(values[_IFA_FLAGS])
        if not (address.is_loopback or address.is_link_local):
            text = f"{address}/{length}"
            is_private = address.version == 6 and bool(flags & _IFA_F_TEMPORARY)  # the bit has another meaning for IPv4
            dynamic = is_private or not flags & _IFA_F_PERMANENT
            found.append(InterfaceAddress(interface=names[index], address=text, dynamic=dynamic))
    return tuple(found)


def parse_default_routes(data: bytes, names: dict[int, str]) -> tuple[DefaultRoute, ...]:
    """The default routes of an RTM_GETROUTE dump: those of the main table, else of those that rules lead to.

    A route with several next hops is one for each of them.
    """
    main: list[DefaultRoute] = []
    others: list[DefaultRoute] = []
    for kind, body in _messages(data):
        if kind != RTM_NEWROUTE or len(body) < 12:
            continue
        _, length, _, _, table, _, _, route_type = struct.unpack_from("=8B", body)
        if length or table == _RT_TABLE_LOCAL or route_type != _RTN_UNICAST:
            continue
        values = _attributes(body[12:])
        metric = _number(values.get(_RTA_PRIORITY, b""))
        hops = [(_number(values.get(_RTA_OIF, b"")), values), *_next_hops(values.get(_RTA_MULTIPATH, b""))]
        (main if table == _RT_TABLE_MAIN else others).extend(
            DefaultRoute(interface=names[index], gateway=_gateway(hop), metric=metric)
            for index, hop in hops
            if index in names
        )
    return tuple(main or others)


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], sys.byteorder)


def _next_hops(data: bytes) -> Iterator[tuple[int, dict[int, bytes]]]:
    """The interface's index and the attributes of each (rtnetlink(7), struct rtnexthop)."""
    while len(data) >= 8:
        length, _, _, index = struct.unpack_from("=HBBi", data)
        if not 8 <= length <= len(data):
            return
        yield index, _attributes(data[8:length])
        data = data[(length + 3) & ~3 :]


def _gateway(values: dict[int, bytes]) -> str:
    """In text; "" for a route without."""
    data = values.get(_RTA_GATEWAY, b"")
    return str(ipaddress.ip_address(data)) if len(data) in (4, 16) else ""
