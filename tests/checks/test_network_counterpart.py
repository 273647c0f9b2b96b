# SPDX-License-Identifier: Apache-2.0
"""The connection in use is compared with its counterpart: addresses, gateway and name servers of each family."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.findings import Finding
from balena_migrate.network.model import Ip, Kind, Method, NetworkSettings, Profile, Route
from balena_migrate.network.select import Selection
from balena_migrate.settings import Config, Keep

FIXED = Ip(method=Method.MANUAL, addresses=("172.20.5.9/24",), gateway="172.20.5.1", dns=("172.20.0.2",))
FIXED_6 = Ip(method=Method.MANUAL, addresses=("2001:db8:7::9/64",))
LINE = Profile(kind=Kind.ETHERNET, source="/line", interface="eth3", ipv4=FIXED, ipv6=Ip(method=Method.IGNORE))


def now(*addresses: str, gateways: tuple[str, ...] = ("172.20.5.1",), lease: bool = False) -> NetworkFacts:
    return NetworkFacts(
        interfaces=(Interface(name="eth3", kind=InterfaceKind.ETHERNET),),
        addresses=tuple(InterfaceAddress(interface="eth3", address=a, dynamic=lease) for a in addresses),
        default_routes=tuple(DefaultRoute(interface="eth3", gateway=gateway) for gateway in gateways),
        name_servers=("172.20.0.2",),
    )


BOTH = now("172.20.5.9/24", "2001:db8:7::9/64", gateways=("172.20.5.1", "fe80::1"))
ONLY_6 = replace(now("2001:db8:7::9/64", gateways=("fe80::1",)), name_servers=("2001:db8::2",))


def check(network: NetworkFacts, *profiles: Profile, config: Config | None = None) -> dict[str, Finding]:
    settings = NetworkSettings(profiles=profiles)
    findings = check_network(config or Config(), network, settings, Selection(profiles=profiles))
    return {finding.code: finding for finding in findings}


def test_what_was_compared_is_said_and_what_was_not() -> None:
    found = check(now("172.20.5.9/24"), LINE)
    assert list(found) == ["network-online"]
    assert "compared: addresses, gateway, name servers of IPv4, hardware address;" in found["network-online"].cause
    assert "not compared: " in found["network-online"].cause
    assert "lease" not in found["network-online"].cause
    assert "what a lease brings" in check(now("172.20.5.9/24", lease=True))["network-online"].cause


def test_a_fixed_address_of_settings_that_are_not_carried_for_it_is_no_lease() -> None:
    lease = replace(LINE, ipv4=Ip())
    elsewhere = replace(LINE, source="/elsewhere", interface="eth4")
    assert list(check(now("172.20.5.9/24"), lease)) == ["network-online"]
    assert "in /elsewhere" in check(now("172.20.5.9/24"), lease, elsewhere)["network-lost"].cause
    by_hand = replace(LINE, source="/elsewhere", autoconnect=False)
    assert "in /elsewhere" in check(now("172.20.5.9/24"), lease, by_hand)["network-lost"].cause


def test_a_lease_profile_beside_the_one_in_force_is_no_excuse() -> None:
    wrong = replace(LINE, ipv4=replace(FIXED, gateway="172.20.5.254"))
    assert "gateway 172.20.5.1" in check(now("172.20.5.9/24"), wrong, replace(LINE, ipv4=Ip()))["network-lost"].cause


@pytest.mark.parametrize("ip", [Ip(never_default=True), Ip(ignore_auto_routes=True)])
def test_a_lease_without_its_default_route_leads_nowhere(ip: Ip) -> None:
    network = now("172.20.5.9/24", lease=True)
    assert "take no default route" in check(network, replace(LINE, ipv4=ip))["network-lost"].cause
    own = replace(ip, routes=(Route(destination="0.0.0.0/0", gateway="172.20.5.1"),))
    assert list(check(network, replace(LINE, ipv4=own))) == ["network-online"]


def test_an_advertised_gateway_is_lost_with_manual_settings() -> None:
    found = check(BOTH, replace(LINE, ipv6=FIXED_6))
    assert list(found) == ["network-online", "network-family-lost"]
    assert "IPv6: its gateway fe80::1 came by router advertisement" in found["network-family-lost"].cause
    alone = replace(LINE, ipv4=Ip(method=Method.DISABLED), ipv6=FIXED_6)
    assert "fe80::1" in check(ONLY_6, alone)["network-lost"].cause


def test_an_advertised_gateway_comes_with_automatic_settings() -> None:
    taking = replace(FIXED_6, method=Method.AUTO, dns=("2001:db8::2",))
    assert list(check(BOTH, replace(LINE, ipv6=taking))) == ["network-online"]
    assert list(check(ONLY_6, replace(LINE, ipv4=Ip(method=Method.DISABLED), ipv6=taking))) == ["network-online"]


def test_a_fixed_ipv6_gateway_is_not_advertised() -> None:
    network = now("172.20.5.9/24", "2001:db8:7::9/64", gateways=("172.20.5.1", "2001:db8:7::1"))
    found = check(network, replace(LINE, ipv6=replace(FIXED_6, method=Method.AUTO)))
    assert "2001:db8:7::1 is in no settings" in found["network-family-lost"].cause


def test_a_fixed_connection_without_name_servers_is_told() -> None:
    bare = replace(LINE, ipv4=replace(FIXED, dns=()))
    found = check(now("172.20.5.9/24"), bare)
    assert list(found) == ["network-online", "network-no-dns"]
    assert 'KEEP="dns-servers"' in found["network-no-dns"].remedy
    assert list(check(now("172.20.5.9/24"), bare, config=Config(keep=(Keep.DNS_SERVERS,)))) == ["network-online"]


def test_other_name_servers_than_those_in_use_are_told() -> None:
    other = replace(LINE, ipv4=replace(FIXED, dns=("203.0.113.53",)))
    cause = check(now("172.20.5.9/24"), other)["network-no-dns"].cause
    assert "172.20.0.2" in cause and "203.0.113.53" in cause


def test_name_servers_of_a_family_that_is_lost_do_not_count() -> None:
    only_6 = replace(LINE, ipv4=replace(FIXED, dns=()), ipv6=replace(FIXED_6, dns=("2001:db8::2",)))
    assert "name no name server" in check(BOTH, only_6)["network-no-dns"].cause


def test_a_lease_that_may_not_bring_name_servers_is_told() -> None:
    lease = replace(LINE, ipv4=Ip(ignore_auto_dns=True))
    assert "network-no-dns" in check(now("172.20.5.9/24", lease=True), lease)
