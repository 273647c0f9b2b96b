# SPDX-License-Identifier: Apache-2.0
"""What is used of a lease and of router advertisements goes along for each family, or is named."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.network.model import Ip, Method, NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device, carried_keyfiles, read_networks
from tests.support.oracle import Oracle

NETPLAN = "network:\n  ethernets:\n    dock2:\n      dhcp4: true\n"


def by_networkd(device: Device, text: str, network: str = "DHCP=yes\n") -> tuple[Ip, Ip, list[str]]:
    """IPv4 and IPv6 of the only profile, and what is told of it."""
    device.put("/etc/systemd/network/d.network", f"[Match]\nName=dock2\n[Network]\n{network}{text}")
    return only(read_networks(device.system))


def by_netplan(device: Device, text: str) -> tuple[Ip, Ip, list[str]]:
    device.put("/etc/netplan/d.yaml", NETPLAN + text)
    return only(read_networks(device.system))


def only(settings: NetworkSettings) -> tuple[Ip, Ip, list[str]]:
    (profile,) = settings.profiles
    assert profile.ipv4 and profile.ipv6
    return profile.ipv4, profile.ipv6, [problem.reason for problem in settings.problems]


NO_ROUTES = Ip(ignore_auto_routes=True, never_default=True)


@pytest.mark.parametrize(
    ("text", "ipv4", "ipv6"),
    [
        ("[DHCPv4]\nUseDNS=no\n", Ip(ignore_auto_dns=True), Ip()),
        ("[DHCPv4]\nUseRoutes=no\n", NO_ROUTES, Ip()),
        ("[DHCPv4]\nUseGateway=no\n", Ip(never_default=True), Ip()),
        ("[DHCPv4]\nUseDomains=yes\n", Ip(), Ip()),
        ("[DHCPv4]\nRouteMetric=7\nRouteTable=9\n", Ip(metric=7, options=(("route-table", "9"),)), Ip()),
        ("[IPv6AcceptRA]\nUseDNS=no\n[DHCPv6]\nUseDNS=no\n", Ip(), Ip(ignore_auto_dns=True)),
        ("[IPv6AcceptRA]\nUseGateway=no\n", Ip(), Ip(never_default=True)),
        ("[IPv6AcceptRA]\nUseGateway=no\nUseRoutePrefix=no\n", Ip(), NO_ROUTES),
        ("[IPv6AcceptRA]\nRouteMetric=7\n", Ip(), Ip(metric=7)),
        ("[DHCP]\nRouteMetric=7\n", Ip(metric=7), Ip(metric=7)),
        ("[DHCP]\nUseRoutes=no\n", NO_ROUTES, Ip()),
        ("[DHCP]\nUseDNS=no\n[IPv6AcceptRA]\nUseDNS=no\n", Ip(ignore_auto_dns=True), Ip(ignore_auto_dns=True)),
        ("[DHCPv4]\nUseDNS=yes\n[DHCP]\nUseDNS=no\n[DHCPv6]\nUseDNS=yes\n", Ip(), Ip()),
        ("[DHCPv4]\nSendHostname=no\n", Ip(options=(("dhcp-send-hostname", "false"),)), Ip()),
        (
            "[DHCPv4]\nHostname=kiln\nVendorClassIdentifier=oven 1\n",
            Ip(options=(("dhcp-hostname", "kiln"), ("dhcp-vendor-class-identifier", "oven 1"))),
            Ip(),
        ),
    ],
)
def test_networkd_says_for_each_family(device: Device, text: str, ipv4: Ip, ipv6: Ip) -> None:
    assert by_networkd(device, text) == (ipv4, ipv6, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[DHCPv6]\nUseDNS=no\n", "the name servers from DHCPv6 are used, too"),
        ("[DHCP]\nUseDNS=no\n", "the name servers from DHCPv6 are used, too"),
        ("[DHCPv4]\nUseDomains=no\n", "the domains from [DHCPv4] are used for search"),
        ("[DHCPv4]\nUseDNS=no\nUseDomains=yes\n", "the domains from [DHCPv4] are left out with its name servers"),
        ("[DHCPv4]\nUseRoutes=no\nUseGateway=yes\n", "the routes that come with the gateway are used, too"),
        ("[IPv6AcceptRA]\nRouteMetric=1:2:3\n", "the metric 1:2:3 of router advertisements is not carried over"),
        ("[DHCPv4]\nRouteTable=blue\n", "the routing table blue of [DHCPv4] is not carried over"),
        ("[DHCPv6]\nIAID=7\n", "DHCPv6.IAID is not carried over"),
        ("[IPv6AcceptRA]\nToken=::5\n", "IPv6AcceptRA.Token is not carried over"),
        ("[DHCPv4]\nVendorClassIdentifier=a\\\\x41\n", "the vendor class that the DHCP server is told is not carried"),
    ],
)
def test_what_networkmanager_cannot_tell_apart_is_told(device: Device, text: str, told: str) -> None:
    _, _, problems = by_networkd(device, text)
    assert len(problems) == 1 and told in problems[0]


def test_a_gateway_of_its_own_replaces_that_of_the_lease(device: Device) -> None:
    ipv4, _, problems = by_networkd(
        device, "[DHCPv4]\nUseGateway=no\n", "DHCP=ipv4\nAddress=172.21.3.4/24\nGateway=172.21.3.1\n"
    )
    assert (ipv4.gateway, ipv4.never_default, ipv4.ignore_auto_routes) == ("172.21.3.1", False, True)
    assert problems == ["the routes that come with the gateway are left out with it"]


@pytest.mark.parametrize(
    ("network", "method"),
    [
        ("DHCP=ipv4\nIPv6AcceptRA=no\n", Method.LINK_LOCAL),
        ("DHCP=ipv4\nLinkLocalAddressing=no\n", Method.DISABLED),
        ("DHCP=yes\nIPv6AcceptRA=no\n", Method.DHCP),
        ("DHCP=ipv4\n", Method.AUTO),
    ],
)
def test_networkd_without_router_advertisements(device: Device, network: str, method: Method) -> None:
    assert by_networkd(device, "", network)[1].method is method


@pytest.mark.parametrize(
    ("text", "ipv4", "ipv6"),
    [
        ("      dhcp4-overrides: {use-dns: false}\n", Ip(ignore_auto_dns=True), Ip(method=Method.IGNORE)),
        ("      dhcp4-overrides: {use-routes: false}\n", NO_ROUTES, Ip(method=Method.IGNORE)),
        ("      dhcp4-overrides: {route-metric: 7}\n", Ip(metric=7), Ip(method=Method.IGNORE)),
        ("      dhcp6: true\n      dhcp6-overrides: {use-dns: no}\n", Ip(), Ip(ignore_auto_dns=True)),
        ("      accept-ra: true\n      ra-overrides: {use-dns: false}\n", Ip(), Ip(ignore_auto_dns=True)),
        ("      dhcp6: true\n      dhcp6-overrides: {use-routes: false}\n", Ip(), NO_ROUTES),
        (
            "      dhcp4-overrides: {hostname: kiln}\n",
            Ip(options=(("dhcp-hostname", "kiln"),)),
            Ip(method=Method.IGNORE),
        ),
        (
            "      dhcp4-overrides: {send-hostname: false}\n",
            Ip(options=(("dhcp-send-hostname", "false"),)),
            Ip(method=Method.IGNORE),
        ),
        ("      accept-ra: true\n      ipv6-privacy: true\n", Ip(), Ip(options=(("ip6-privacy", "2"),))),
        ("      ipv6-privacy: true\n", Ip(), Ip(options=(("ip6-privacy", "2"),))),
        ("      accept-ra: false\n", Ip(), Ip(method=Method.LINK_LOCAL)),
        ("      link-local: []\n", Ip(), Ip(method=Method.DISABLED)),
        ("      accept-ra: false\n      dhcp6: true\n", Ip(), Ip(method=Method.DHCP)),
    ],
)
def test_netplan_says_for_each_family(device: Device, text: str, ipv4: Ip, ipv6: Ip) -> None:
    assert by_netplan(device, text) == (ipv4, ipv6, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("      dhcp4-overrides: {use-domains: false}\n", "the domains from dhcp4-overrides are used for search"),
        ("      dhcp4-overrides: {use-domains: route}\n", "the domains from dhcp4-overrides are used for search"),
        ("      dhcp6: true\n      ra-overrides: {use-dns: no}\n", "name servers from ra-overrides are used, too"),
        ("      dhcp4-overrides: {use-oven: yes}\n", "dhcp4-overrides: use-oven is not carried over"),
    ],
)
def test_what_netplan_says_and_networkmanager_cannot(device: Device, text: str, told: str) -> None:
    _, _, problems = by_netplan(device, text)
    assert len(problems) == 1 and told in problems[0]


@pytest.mark.processes
def test_networkmanager_takes_all_of_it(device: Device, oracle: Oracle) -> None:
    by_networkd(
        device,
        "[DHCPv4]\nSendHostname=no\nVendorClassIdentifier=oven 1\nRouteTable=9\nUseRoutes=no\n"
        "[DHCPv6]\nHostname=kiln\n[IPv6AcceptRA]\nUseGateway=no\n",
        "DHCP=yes\nIPv6PrivacyExtensions=prefer-public\n",
    )
    settings = read_networks(device.system)
    (keyfile,) = carried_keyfiles(device.system, settings, NetworkFacts())
    found = oracle.read(keyfile.dump())
    assert found["ipv4"]["dhcp-vendor-class-identifier"] == "oven 1" and found["ipv4"]["route-table"] == 9
    assert found["ipv4"]["dhcp-send-hostname"] is False and found["ipv4"]["never-default"] is True
    assert found["ipv6"]["ip6-privacy"] == 1 and found["ipv6"]["dhcp-hostname"] == "kiln"


def codes(device: Device, network: NetworkFacts) -> list[str]:
    settings = read_network(device.system, network)
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    return [finding.code for finding in check_network(ALL_WIFIS, network, settings, selection)]


def now(address: str, gateway: str) -> NetworkFacts:
    return NetworkFacts(
        interfaces=(Interface(name="dock2", kind=InterfaceKind.ETHERNET),),
        addresses=(InterfaceAddress(interface="dock2", address=address, dynamic=True),),
        default_routes=(DefaultRoute(interface="dock2", gateway=gateway),),
    )


@pytest.mark.parametrize(
    ("ip", "code"),
    [
        ("[ipv4]\nmethod=auto\nignore-auto-routes=true\n", "network-lost"),
        ("[ipv4]\nmethod=auto\nignore-auto-dns=true\n", "network-no-dns"),
        ("[ipv4]\nmethod=auto\n", "network-online"),
    ],
)
def test_a_keyfile_that_takes_not_all_of_its_lease(device: Device, ip: str, code: str) -> None:
    text = f"[connection]\ntype=ethernet\ninterface-name=dock2\n{ip}"
    device.put("/etc/NetworkManager/system-connections/dock", text)
    assert codes(device, now("172.21.3.4/24", "172.21.3.1"))[-1] == code


def test_dhcpv6_alone_brings_no_gateway(device: Device) -> None:
    profile = "[connection]\ntype=ethernet\ninterface-name=dock2\n[ipv4]\nmethod=disabled\n[ipv6]\nmethod=dhcp\n"
    device.put("/etc/NetworkManager/system-connections/dock", profile)
    assert codes(device, now("2001:db8:3::4/128", "fe80::1")) == ["network-lost"]
    device.put("/etc/NetworkManager/system-connections/dock", profile.replace("dhcp", "auto"))
    assert codes(device, now("2001:db8:3::4/128", "fe80::1"))[0] == "network-online"
