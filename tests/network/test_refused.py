# SPDX-License-Identifier: Apache-2.0
"""A profile that the new system refuses displaces none that works, and its address never passes as a lease."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.network.model import NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device

KEYFILE = "/etc/NetworkManager/system-connections/press"
NETPLAN = "/etc/netplan/press.yaml"
WPA = "/etc/wpa_supplicant/wpa_supplicant.conf"
WIRED = "[connection]\ntype=ethernet\ninterface-name=lan4\n{}[ipv4]\nmethod=manual\naddress1=172.21.6.8/24,172.21.6.1\n"
WIFI = "[connection]\ntype=wifi\nuuid=none\n[wifi]\nssid=Press Shop\n"


def now(kind: InterfaceKind = InterfaceKind.ETHERNET) -> NetworkFacts:
    """No lease, as with many DHCP clients of old systems."""
    return NetworkFacts(
        interfaces=(
            Interface(name="lan4", kind=kind, mac="02:00:5e:71:00:04", mac_permanent=True, ssid=b"Press Shop"),
        ),
        addresses=(InterfaceAddress(interface="lan4", address="172.21.6.8/24"),),
        default_routes=(DefaultRoute(interface="lan4", gateway="172.21.6.1"),),
    )


def codes(device: Device, settings: NetworkSettings, network: NetworkFacts) -> dict[str, str]:
    """Code -> cause."""
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    return {finding.code: finding.cause for finding in check_network(ALL_WIFIS, network, settings, selection)}


@pytest.mark.parametrize(
    ("fault", "words"), [("uuid=none\n", "is not a UUID"), ("slave-type=bridge\n", "does not say of what")]
)
def test_a_refused_keyfile_displaces_no_wired_profile_that_works(device: Device, fault: str, words: str) -> None:
    device.put(NETPLAN, "network: {ethernets: {lan4: {addresses: [172.21.6.9/24]}}}")
    device.put(KEYFILE, WIRED.format(fault))
    found = read_network(device.system, now())
    assert [profile.source for profile in found.profiles] == [NETPLAN]
    assert [(p.source, words in p.reason) for p in found.problems] == [(KEYFILE, True)]


@pytest.mark.parametrize(
    ("keyfile", "os_version", "kept"),
    [
        (WIFI, "6.10.0", WPA),
        (WIFI.replace("uuid=none\n", "") + "cloned-mac-address=stable-ssid\n", "2.108.0", WPA),
        (WIFI.replace("uuid=none\n", "") + "cloned-mac-address=stable-ssid\n", "5.2.0", KEYFILE),
    ],
)
def test_a_wifi_network_that_the_image_refuses_displaces_no_twin_that_works(
    device: Device, keyfile: str, os_version: str, kept: str
) -> None:
    device.put(KEYFILE, keyfile)
    device.put(WPA, 'network={\n ssid="Press Shop"\n key_mgmt=NONE\n}\n')
    found = read_network(device.system, now(InterfaceKind.WIFI), os_version)
    assert [profile.source for profile in found.profiles] == [kept]
    assert [problem.source for problem in found.problems] == ([KEYFILE] if kept == WPA else [])


def test_the_address_of_a_refused_profile_is_no_lease(device: Device) -> None:
    device.put(NETPLAN, "network: {ethernets: {lan4: {dhcp4: true}}}")
    device.put(KEYFILE, WIRED.format("uuid=none\n"))
    found = codes(device, read_network(device.system, now()), now())
    assert f"172.21.6.8/24 is in {KEYFILE}" in found["network-lost"]
    (device.root / KEYFILE.lstrip("/")).unlink()
    assert "network-online" in codes(device, read_network(device.system, now()), now())
