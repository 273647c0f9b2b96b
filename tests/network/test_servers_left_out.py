# SPDX-License-Identifier: Apache-2.0
"""Name servers of a family that the connection does not use are told, and those of both are found in one place."""

from __future__ import annotations

import pytest

from balena_migrate.network.model import Method
from tests.support.network import Device, read_networks

SIX = "2001:db8:11::53"
FOUR = "172.24.0.53"
NETPLAN = "network:\n  ethernets:\n    loft1:\n      {}: true\n      nameservers: {{addresses: [{}]}}\n"
NETWORKD = "[Match]\nName=loft1\n[Network]\nDHCP={}\nLinkLocalAddressing=no\nDNS={}\n"
DHCPCD = "interface loft1\nnoipv6\nstatic ip_address=172.24.1.4/24\nstatic domain_name_servers={}\n"
CONNMAN = "[service_loft]\nType=ethernet\nIPv6=off\nNameservers={}\n"


@pytest.mark.parametrize(
    ("path", "text", "version"),
    [
        ("/etc/netplan/l.yaml", NETPLAN.format("dhcp6", FOUR), 4),
        ("/etc/netplan/l.yaml", NETPLAN.format("dhcp4", SIX), 6),
        ("/etc/systemd/network/l.network", NETWORKD.format("yes", f"{SIX}#dns.example"), 6),
        ("/etc/dhcpcd.conf", DHCPCD.format(SIX), 6),
        ("/var/lib/connman/l.config", CONNMAN.format(SIX), 6),
        (
            "/etc/network/interfaces",
            f"auto loft1\niface loft1 inet dhcp\n dns-nameservers {SIX}\niface loft1 inet6 manual\n",
            6,
        ),
    ],
)
def test_those_of_a_family_that_is_not_used(device: Device, path: str, text: str, version: int) -> None:
    device.put(path, text)
    (problem,) = read_networks(device.system).problems
    assert f"its name servers with IPv{version} addresses are not carried over" in problem.reason and not problem.lost


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/netplan/l.yaml", NETPLAN.format("dhcp4", FOUR)),
        ("/etc/dhcpcd.conf", DHCPCD.format(FOUR)),
        ("/var/lib/connman/l.config", CONNMAN.format(FOUR)),
    ],
)
def test_those_of_a_family_that_is_used_go_along(device: Device, path: str, text: str) -> None:
    device.put(path, text)
    settings = read_networks(device.system)
    assert settings.problems == () and settings.profiles[0].ipv4 and settings.profiles[0].ipv4.dns == (FOUR,)


def test_those_of_both_families_in_one_stanza_of_ifupdown(device: Device) -> None:
    """resolvconf takes them as they are, whatever the stanza is for."""
    text = f"auto loft1\niface loft1 inet static\n address 172.24.1.4/24\n dns-nameservers {FOUR} {SIX}\n"
    device.put("/etc/network/interfaces", text)
    (profile,) = read_networks(device.system).profiles
    assert profile.ipv4 and profile.ipv4.dns == (FOUR,)
    assert profile.ipv6 and (profile.ipv6.dns, profile.ipv6.method) == ((SIX,), Method.AUTO)


@pytest.mark.parametrize(("renderer", "method"), [("NetworkManager", Method.MANUAL), ("networkd", Method.AUTO)])
@pytest.mark.parametrize("place", ["all", "kind", "device"])
def test_netplans_renderer_at_each_of_its_places(device: Device, place: str, renderer: str, method: Method) -> None:
    """systemd-networkd takes the gateway of the address by router advertisement; the word is no device."""
    said = {name: f"renderer: {renderer}" if name == place else "" for name in ("all", "kind", "device")}
    text = (
        f"network:\n  version: 2\n  {said['all']}\n  ethernets:\n    {said['kind']}\n    loft1:\n"
        f"      {said['device']}\n      addresses: [2001:db8:11::4/64]\n"
    )
    device.put("/etc/netplan/l.yaml", text)
    (profile,) = read_networks(device.system).profiles
    assert profile.interface == "loft1" and profile.ipv6 and profile.ipv6.method is method
