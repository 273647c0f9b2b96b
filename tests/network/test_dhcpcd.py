# SPDX-License-Identifier: Apache-2.0
"""dhcpcd's blocks: each network has the addresses of all that apply to it, and what is only for a failure is named."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.network.model import Ip, NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device, read_networks

CONF = "/etc/dhcpcd.conf"
NETWORKS = "".join(f'network={{\n ssid="{name}"\n key_mgmt=NONE\n}}\n' for name in ("Lock", "Sluice Gate"))
WLAN = "interface wlan0\nstatic ip_address=172.23.1.9/24\nstatic routers=172.23.1.1\n"
SLUICE = "ssid Sluice Gate\nstatic ip_address=172.23.2.9/24\n"
FALLBACK = "profile no_server\nstatic ip_address=172.23.3.9/24\nstatic routers=172.23.3.1\n"


def ips(device: Device, text: str) -> dict[str, Ip]:
    device.put(CONF, text)
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", NETWORKS)
    return {profile.name: profile.ipv4 or Ip() for profile in read_networks(device.system).profiles}


@pytest.mark.parametrize("text", [WLAN + SLUICE, SLUICE.replace("static ip", "static routers=172.23.2.1\nstatic ip")])
def test_a_wifi_network_with_a_block_of_its_own(device: Device, text: str) -> None:
    found = ips(device, text)
    assert found["Sluice Gate"].addresses == ("172.23.2.9/24",)
    assert found["Lock"].addresses == (("172.23.1.9/24",) if "wlan0" in text else ())


def test_the_block_of_its_interface_fills_what_that_of_the_network_leaves_open(device: Device) -> None:
    found = ips(device, WLAN + "ssid Lock\nstatic domain_name_servers=172.23.0.53\n")
    assert (found["Lock"].addresses, found["Lock"].gateway) == (("172.23.1.9/24",), "172.23.1.1")
    assert (found["Lock"].dns, found["Sluice Gate"].dns) == (("172.23.0.53",), ())


def test_of_two_blocks_for_one_network_the_later_line_counts(device: Device) -> None:
    assert ips(device, WLAN + SLUICE)["Sluice Gate"].addresses == ("172.23.2.9/24",)
    assert ips(device, SLUICE + WLAN)["Sluice Gate"].addresses == ("172.23.1.9/24",)


def test_the_block_of_a_wired_interface_is_not_for_wifi(device: Device) -> None:
    found = ips(device, WLAN.replace("wlan0", "eth0") + SLUICE)
    assert found["Sluice Gate"].gateway == ""


def test_addresses_that_are_part_of_others_are_no_loss(device: Device) -> None:
    ips(device, WLAN + SLUICE + SLUICE.replace("Sluice Gate", "Lock").replace("23.2", "23.4"))
    assert not read_networks(device.system).problems


def test_lines_that_were_added_at_the_end_count(device: Device) -> None:
    """Guides say to append to the file; what stood there before stays."""
    device.put(CONF, WLAN.replace("wlan0", "eth0") + "interface eth0\nstatic ip_address=172.23.8.9/24\n")
    (profile,) = read_networks(device.system).profiles
    assert profile.ipv4 and (profile.ipv4.addresses, profile.ipv4.gateway) == (("172.23.8.9/24",), "172.23.1.1")


def codes(device: Device, settings: NetworkSettings, network: NetworkFacts) -> dict[str, str]:
    """Code -> cause."""
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    return {finding.code: finding.cause for finding in check_network(ALL_WIFIS, network, settings, selection)}


@pytest.mark.parametrize(
    "use", ["interface eth0\nfallback no_server\n", "fallback no_server\n", "interface eth0\narping 172.23.3.1\n"]
)
def test_the_address_for_where_there_is_no_lease_does_not_pass_as_one(device: Device, use: str) -> None:
    network = NetworkFacts(
        interfaces=(Interface(name="eth0", kind=InterfaceKind.ETHERNET),),
        addresses=(InterfaceAddress(interface="eth0", address="172.23.3.9/24"),),
        default_routes=(DefaultRoute(interface="eth0", gateway="172.23.3.1"),),
    )
    device.put(CONF, use + FALLBACK)
    found = codes(device, read_network(device.system, network), network)
    assert "172.23.3.9/24" in found["network-lost"] and "no_server" in found["network-not-carried"]


def test_a_profile_with_a_wrong_address_is_told(device: Device) -> None:
    device.put(CONF, "profile x\nstatic ip_address=nowhere\n")
    (problem,) = read_networks(device.system).problems
    assert "nowhere" in problem.reason
