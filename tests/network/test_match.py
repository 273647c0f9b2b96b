# SPDX-License-Identifier: Apache-2.0
"""Profiles that are bound by patterns go to the interfaces that fit them, bound by hardware address as all others."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import (
    DefaultRoute,
    Interface,
    InterfaceAddress,
    InterfaceKind,
    NetworkFacts,
    read_network_facts,
)
from balena_migrate.network.files.keyfile import Keyfile
from balena_migrate.network.merge import fits
from balena_migrate.network.model import Match, Method
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device, carried_keyfiles

PORT = "/etc/NetworkManager/system-connections/port.nmconnection"
FIXED = "[ipv4]\nmethod=manual\naddress1=172.20.8.4/24,172.20.8.1\ndns=172.20.0.2;\n"


def card(name: str, kind: InterfaceKind = InterfaceKind.ETHERNET, driver: str = "", path: str = "") -> Interface:
    mac = f"02:00:5e:00:00:{sum(name.encode()) % 256:02x}"
    return Interface(name=name, kind=kind, mac=mac, mac_permanent=True, driver=driver, path=path)


ONE, TWO = card("enp7s0", driver="igb", path="pci-0000:07:00.0"), card("enx9", driver="r8152", path="pci-0000:00:14.0")
AIR = card("wlp9s0", InterfaceKind.WIFI, driver="iwlwifi")
STICK = card("wlx7", InterfaceKind.WIFI, driver="mt76x0u")


def now(*interfaces: Interface, user: str = "") -> NetworkFacts:
    return NetworkFacts(
        interfaces=interfaces,
        addresses=(InterfaceAddress(interface=user, address="172.20.8.4/24"),) if user else (),
        default_routes=(DefaultRoute(interface=user, gateway="172.20.8.1"),) if user else (),
    )


def keyfile(match: str, more: str = FIXED, kind: str = "ethernet", uuid: str = "") -> str:
    identity = f"uuid={uuid}\n" if uuid else ""
    return f"[connection]\ntype={kind}\n{identity}[match]\n{match}\n{more}"


def carried(device: Device, network: NetworkFacts) -> list[Keyfile]:
    return carried_keyfiles(device.system, read_network(device.system, network), network)


@pytest.mark.parametrize(
    "match",
    [
        "interface-name=enp*;",
        "interface-name=!enx*;!lo;",
        "driver=igb;",
        "path=pci-0000:07:*;",
        "interface-name=|x;enp7s0",
    ],
)
def test_a_fixed_keyfile_goes_to_the_interface_that_fits(device: Device, match: str) -> None:
    device.put(PORT, keyfile(match))
    (file,) = carried(device, now(TWO, ONE))
    assert "match" not in file.groups()
    assert file.raw("ethernet", "mac-address") == ONE.mac
    assert file.raw("connection", "interface-name") is None


def test_a_fixed_address_stays_where_it_is_now(device: Device) -> None:
    device.put(PORT, keyfile("interface-name=en*;"))
    (file,) = carried(device, now(ONE, TWO, user="enx9"))
    assert file.raw("ethernet", "mac-address") == TWO.mac


def test_a_fixed_address_goes_to_one_of_several(device: Device) -> None:
    device.put(PORT, keyfile("interface-name=en*;"))
    (file,) = carried(device, now(ONE, TWO))
    assert file.raw("ethernet", "mac-address") == ONE.mac


def test_a_keyfile_for_leases_goes_to_every_interface_that_fits(device: Device) -> None:
    device.put(
        PORT, keyfile("interface-name=en*;", "[ethernet]\nmtu=1400\n", uuid="6f1f0a10-0000-4000-8000-0000000000aa")
    )
    one, two = carried(device, now(ONE, TWO))
    assert [file.raw("ethernet", "mac-address") for file in (one, two)] == [ONE.mac, TWO.mac]
    assert one.raw("connection", "uuid") and two.raw("connection", "uuid") is None


def test_a_wifi_keyfile_is_bound_where_there_are_several(device: Device) -> None:
    device.put(PORT, keyfile("driver=mt76*;", "[wifi]\nssid=Crane\n", kind="wifi"))
    (file,) = carried(device, now(AIR, STICK))
    assert file.raw("wifi", "mac-address") == STICK.mac and "match" not in file.groups()


def test_one_that_fits_nothing_is_told_and_stays_as_it_is(device: Device) -> None:
    device.put(PORT, keyfile("interface-name=eth*;"))
    network = now(ONE, user="enp7s0")
    settings = read_network(device.system, network)
    assert [str(p).partition(": ")[0] for p in settings.problems] == [PORT]
    assert "no interface fits the name eth*" in settings.problems[0].reason and not settings.problems[0].lost
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    found = next(check_network(ALL_WIFIS, network, settings, selection))
    assert found.code == "network-lost"
    (file,) = carried(device, network)
    assert file.raw("match", "interface-name") == "eth*;"


def test_one_for_a_kernels_command_line_is_refused(device: Device) -> None:
    device.put(PORT, keyfile("kernel-command-line=plant;"))
    settings = read_network(device.system, now(ONE))
    assert not settings.profiles and "kernel-command-line" in settings.problems[0].reason


def test_netplan_binds_by_driver(device: Device) -> None:
    text = "network:\n  ethernets:\n    a: {match: {driver: [x, 'ig*']}, addresses: [172.20.8.4/24]}\n"
    device.put("/etc/netplan/a.yaml", text)
    (file,) = carried(device, now(TWO, ONE))
    assert file.raw("ethernet", "mac-address") == ONE.mac


@pytest.mark.parametrize(
    "match",
    [
        "Driver=x ig*",
        "Path=pci-0000:07:*",
        "Name=!enx* lo",
        "Name=en*\nDriver=!r8152",
        "Driver=igb\nType=ether",
        "Name=enp7s0\nPath=pci-*",
    ],
)
def test_networkd_binds_by_driver_by_path_and_by_what_it_is_not(device: Device, match: str) -> None:
    text = f"[Match]\n{match}\n[Network]\nAddress=172.20.8.4/24\n"
    device.put("/etc/systemd/network/port.network", text)
    (file,) = carried(device, now(TWO, ONE))
    assert file.raw("ethernet", "mac-address") == ONE.mac


def test_of_networkds_files_the_first_that_fits_counts(device: Device) -> None:
    device.put("/etc/systemd/network/10-port.network", "[Match]\nDriver=igb\n[Network]\nAddress=172.20.8.4/24\n")
    device.put("/etc/systemd/network/20-others.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n")
    found = read_network(device.system, now(TWO, ONE)).profiles
    assert {p.interface: p.ipv4.method for p in found if p.ipv4} == {ONE.name: Method.MANUAL, TWO.name: Method.AUTO}


def test_netplan_binds_wifi_by_a_pattern(device: Device) -> None:
    text = "network:\n  wifis:\n    a: {match: {name: 'wlx*'}, access-points: {Crane: {}}}\n"
    device.put("/etc/netplan/a.yaml", text)
    (file,) = carried(device, now(AIR, STICK))
    assert file.raw("wifi", "mac-address") == STICK.mac
    (free,) = carried(device, now(AIR))
    assert free.raw("wifi", "mac-address") is None and free.raw("connection", "interface-name") is None


def test_a_wired_pattern_is_not_for_wifi(device: Device) -> None:
    text = "network:\n  ethernets:\n    a: {match: {name: '*'}, addresses: [172.20.8.4/24]}\n"
    device.put("/etc/netplan/a.yaml", text)
    assert [file.raw("ethernet", "mac-address") for file in carried(device, now(AIR, ONE))] == [ONE.mac]


@pytest.mark.parametrize(
    ("patterns", "fitting"),
    [
        (("enp*",), True),
        (("eth*",), False),
        (("eth*", "enp*"), True),
        (("!enp*",), False),
        (("&enp*", "&!*s0"), False),
        (("|!enp*", "enp7s0"), True),
        (("&eth*", "enp7s0"), False),
        (("\\enp7s0",), True),
        (("",), True),
        (("", "eth*"), False),
    ],
)
def test_the_marks_of_patterns(patterns: tuple[str, ...], fitting: bool) -> None:
    assert fits(Match(names=patterns), ONE) is fitting


def test_the_path_is_what_udev_knows(device: Device) -> None:
    device.put("/sys/class/net/enp7s0/ifindex", "7\n")
    device.put("/run/udev/data/n7", "I:1\nE:ID_PATH=pci-0000:07:00.0\nE:ID_NET=x\n")
    assert read_network_facts(device.system).interfaces[0].path == "pci-0000:07:00.0"


def test_netplan_for_a_driver_that_nothing_has_is_told(device: Device) -> None:
    device.put("/etc/netplan/a.yaml", "network:\n  ethernets:\n    a: {match: {driver: x}, dhcp4: true}\n")
    settings = read_network(device.system, now(ONE))
    assert not settings.profiles and "no interface fits the driver x" in settings.problems[0].reason
