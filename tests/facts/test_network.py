# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of the network."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.facts.network import (
    RTM_GETADDR,
    RTM_GETROUTE,
    DefaultRoute,
    Interface,
    InterfaceAddress,
    InterfaceKind,
    NetworkFacts,
    Station,
    dump_netlink,
    parse_addresses,
    parse_default_routes,
    parse_iw_country,
    parse_iw_link,
    read_frequency,
    read_network_facts,
    read_ssid,
)

NAMES = {2: "eth0"}


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 1) + body + bytes(-len(body) % 4)


def address(text: str, length: int, flags: int, family: int = socket.AF_INET) -> bytes:
    body = struct.pack("=BBBBI", family, length, flags, 0, 2) + attribute(1, socket.inet_pton(family, text))
    return message(20, body)


def route(gateway: str, *, length: int = 0, table: int = 254, metric: int = 0) -> bytes:
    body = struct.pack("=8BI", socket.AF_INET, length, 0, 0, table, 3, 0, 1, 0)
    body += attribute(4, struct.pack("=I", 2)) + attribute(5, socket.inet_aton(gateway))
    return message(24, body + attribute(6, struct.pack("=I", metric)))


def test_addresses() -> None:
    data = address("192.0.2.5", 24, 0x80) + address("192.0.2.6", 32, 0) + address("127.0.0.1", 8, 0x80)
    data += address("fe80::1", 64, 0x80, socket.AF_INET6) + address("2001:db8::1", 64, 0x80, socket.AF_INET6)
    assert parse_addresses(data, NAMES) == (
        InterfaceAddress(interface="eth0", address="192.0.2.5/24"),
        InterfaceAddress(interface="eth0", address="192.0.2.6/32", dynamic=True),
        InterfaceAddress(interface="eth0", address="2001:db8::1/64"),
    )


def test_a_private_ipv6_address_is_none_that_somebody_has_fixed() -> None:
    """Whatever lifetime it has; the same bit says of an IPv4 address that it is not the interface's first."""
    six = address("2001:db8::7", 64, 0x81, socket.AF_INET6)
    assert [a.dynamic for a in parse_addresses(six + address("192.0.2.5", 24, 0x81), NAMES)] == [True, False]


def test_default_routes() -> None:
    data = route("192.0.2.1", metric=100) + route("192.0.2.2", length=24) + route("192.0.2.3", table=255)
    expected = (DefaultRoute(interface="eth0", gateway="192.0.2.1", metric=100),)
    assert parse_default_routes(data, NAMES) == expected


def test_a_default_route_with_two_next_hops_and_one_that_only_a_rule_leads_to() -> None:
    hops = b"".join(
        struct.pack("=HBBi", 16, 0, 0, index) + attribute(5, socket.inet_aton(gateway))
        for index, gateway in ((2, "192.0.2.1"), (3, "198.51.100.1"), (9, "203.0.113.1"))
    )
    several = message(24, struct.pack("=8BI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0) + attribute(9, hops))
    by_rule = route("192.0.2.7", table=100, metric=5)
    both = (
        DefaultRoute(interface="eth0", gateway="192.0.2.1"),
        DefaultRoute(interface="wwan0", gateway="198.51.100.1"),
    )
    assert parse_default_routes(by_rule + several, {**NAMES, 3: "wwan0"}) == both
    assert parse_default_routes(by_rule, NAMES) == (DefaultRoute(interface="eth0", gateway="192.0.2.7", metric=5),)
    for end in range(17, len(several)):
        parse_default_routes(several[:end], NAMES)


def test_without_a_default_route_the_only_interface_with_an_address_leads_out() -> None:
    names = ("eth0", "eth1", "docker0")
    kinds = (InterfaceKind.ETHERNET, InterfaceKind.ETHERNET, InterfaceKind.BRIDGE)
    interfaces = tuple(Interface(name=name, kind=kind) for name, kind in zip(names, kinds, strict=True))

    def online(*users: str) -> Interface | None:
        addresses = tuple(InterfaceAddress(interface=name, address="192.0.2.5/24") for name in users)
        return NetworkFacts(interfaces=interfaces, addresses=addresses).online()

    assert online("eth1", "docker0") == interfaces[1]
    assert online("eth0", "eth1") is None is online("docker0")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_answer_ends_the_list(cut: int) -> None:
    assert parse_addresses((address("192.0.2.5", 24, 0x80) * 2)[:-cut], NAMES) in (
        (),
        (InterfaceAddress(interface="eth0", address="192.0.2.5/24"),),
    )


def test_the_kernel_answers() -> None:
    """The running kernel's own answers can be read: there is a loopback interface with its address."""
    assert dump_netlink(RTM_GETADDR, socket.AF_INET)
    assert dump_netlink(RTM_GETROUTE, socket.AF_INET)


def test_interfaces_are_told_apart(tmp_path: Path) -> None:
    files = {
        "eth0": {"type": "1", "ifindex": "2", "address": "00:11:22:33:44:55", "addr_assign_type": "0", "device/x": ""},
        "wlan0": {"type": "1", "ifindex": "3", "uevent": "DEVTYPE=wlan\nINTERFACE=wlan0\n", "operstate": "up"},
        "wlan1": {"type": "1", "ifindex": "4", "wireless/x": "", "device/x": ""},
        "eth0.5": {"type": "1", "ifindex": "5", "uevent": "DEVTYPE=vlan\n"},
        "wwan0": {"type": "1", "ifindex": "6", "uevent": "DEVTYPE=wwan\n"},
        "ppp0": {"type": "512", "ifindex": "7"},
        "docker0": {"type": "1", "ifindex": "8", "uevent": "DEVTYPE=bridge\n"},
        "veth1": {"type": "1", "ifindex": "9"},
        "lo": {"type": "772", "ifindex": "1"},
    }
    for name, values in files.items():
        for path, content in values.items():
            file = tmp_path / "sys/class/net" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
    (tmp_path / "sys/class/net/eth0/device").mkdir(exist_ok=True)
    (tmp_path / "sys/class/net/eth0/device/driver").symlink_to("../../../../bus/pci/drivers/e1000e")
    facts = read_network_facts(
        System(tmp_path), ask_station=lambda name: Station(ssid=name.encode(), frequency_mhz=2412)
    )
    assert {interface.name: interface.kind for interface in facts.interfaces} == {
        "eth0": InterfaceKind.ETHERNET,
        "wlan0": InterfaceKind.WIFI,
        "wlan1": InterfaceKind.WIFI,
        "eth0.5": InterfaceKind.VLAN,
        "wwan0": InterfaceKind.MODEM,
        "ppp0": InterfaceKind.MODEM,
        "docker0": InterfaceKind.BRIDGE,
        "veth1": InterfaceKind.VIRTUAL,
        "lo": InterfaceKind.LOOPBACK,
    }
    wlan0, eth0 = facts.find_interface("wlan0"), facts.find_interface("eth0")
    assert wlan0 and (wlan0.ssid, wlan0.frequency_mhz) == (b"wlan0", 2412) and wlan0.up and wlan0.driver == ""
    assert eth0 and eth0.mac_permanent and eth0.driver == "e1000e"


def test_the_network_that_iw_tells() -> None:
    for frequency in ("2412", "2412.0"):
        text = f"Connected to 00:11:22:33:44:55 (on wlan0)\n\tSSID: caf\\xc3\\xa9 1\n\tfreq: {frequency}\n"
        assert parse_iw_link(text) == Station(ssid=b"caf\xc3\xa9 1", frequency_mhz=2412)
    assert parse_iw_link("Not connected.\n") == Station()


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("global\ncountry FI: DFS-ETSI\n\t(2400 - 2483 @ 40), (N/A, 20), (N/A)\n\nphy#0\ncountry US: DFS-FCC\n", "FI"),
        ("country FI: DFS-ETSI\n", "FI"),
        ("global\ncountry 00: DFS-UNSET\n\nphy#0 (self-managed)\ncountry US: DFS-UNSET\n", ""),
        ("global\ncountry 98: DFS-UNSET\n", ""),
        ("", ""),
    ],
)
def test_the_country_that_iw_tells(text: str, country: str) -> None:
    assert parse_iw_country(text) == country


def test_an_interface_that_is_not_there_has_no_wifi_network() -> None:
    assert (read_ssid("none0"), read_frequency("none0")) == (b"", 0)


def test_a_tunnel_leads_out_last() -> None:
    kinds = (("tun0", InterfaceKind.VIRTUAL), ("eth0", InterfaceKind.ETHERNET))
    facts = NetworkFacts(
        interfaces=tuple(Interface(name=name, kind=kind) for name, kind in kinds),
        default_routes=(DefaultRoute(interface="tun0", metric=1), DefaultRoute(interface="eth0", metric=100)),
    )
    online = facts.online()
    assert online and online.name == "eth0"


def test_name_servers_behind_resolved(tmp_path: Path) -> None:
    for path, server in (("etc/resolv.conf", "127.0.0.53"), ("run/systemd/resolve/resolv.conf", "192.0.2.53")):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# comment\nnameserver {server}\n")
    assert read_network_facts(System(tmp_path)).name_servers == ("192.0.2.53",)
