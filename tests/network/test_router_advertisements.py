# SPDX-License-Identifier: Apache-2.0
"""A fixed IPv6 address whose gateway comes by router advertisement keeps it, as each program's default has it."""

from __future__ import annotations

import pytest

from balena_migrate.network.model import Method
from tests.support.network import Device, read_networks

NETPLAN = """
network:
  {renderer}
  ethernets:
    lan7:
      addresses: [2001:db8:9::4/64]
"""
IFUPDOWN = """
auto lan7
iface lan7 inet6 static
  address 2001:db8:9::4/64
"""
DHCPCD = "interface lan7\nstatic ip_address=172.20.9.4/24\nstatic ip6_address=2001:db8:9::4/64\n"
PLACES = {"netplan": "/etc/netplan/x.yaml", "ifupdown": "/etc/network/interfaces", "dhcpcd": "/etc/dhcpcd.conf"}


def method(device: Device, program: str, text: str) -> Method:
    device.put(PLACES[program], text.replace("{renderer}", "version: 2"))
    (profile,) = read_networks(device.system).profiles
    assert profile.ipv6 and profile.ipv6.addresses == ("2001:db8:9::4/64",)
    return profile.ipv6.method


@pytest.mark.parametrize(("program", "text"), [("netplan", NETPLAN), ("ifupdown", IFUPDOWN), ("dhcpcd", DHCPCD)])
def test_it_is_added_to_what_is_advertised(device: Device, program: str, text: str) -> None:
    assert method(device, program, text) is Method.AUTO


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("netplan", NETPLAN + "      accept-ra: false\n"),
        ("netplan", NETPLAN + "      link-local: []\n"),
        ("netplan", NETPLAN + "      link-local: [ipv4]\n"),
        ("netplan", NETPLAN + "      gateway6: 2001:db8:9::1\n"),
        ("netplan", NETPLAN + "      routes: [{to: default, via: 2001:db8:9::1}]\n"),
        ("netplan", NETPLAN + "      renderer: NetworkManager\n"),
        ("netplan", NETPLAN.replace("{renderer}", "renderer: NetworkManager")),
        ("ifupdown", IFUPDOWN + "  accept_ra 0\n"),
        ("ifupdown", IFUPDOWN + "  gateway 2001:db8:9::1\n"),
        ("ifupdown", IFUPDOWN + "  up ip -6 route add default via 2001:db8:9::1 dev lan7\n"),
        ("dhcpcd", DHCPCD + "noipv6rs\n"),
        ("dhcpcd", "noipv6rs\n" + DHCPCD),
    ],
)
def test_it_is_alone_where_advertisements_are_off_or_it_has_a_gateway(device: Device, program: str, text: str) -> None:
    assert method(device, program, text) is Method.MANUAL
