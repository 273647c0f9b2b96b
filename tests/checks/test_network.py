# SPDX-License-Identifier: Apache-2.0
"""The device must come back online."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.findings import Finding, Severity
from balena_migrate.network.files.keyfile import parse_keyfile
from balena_migrate.network.model import Ip, Kind, Method, NetworkSettings, Problem, Profile, Vlan, Wifi
from balena_migrate.network.select import Selection
from balena_migrate.settings import Config

HOME = Profile(kind=Kind.WIFI, source="/s", wifi=Wifi(ssid=b"home"))
OTHER = Profile(kind=Kind.WIFI, source="/s", wifi=Wifi(ssid=b"other"))
STATIC = Ip(method=Method.MANUAL, addresses=("192.0.2.5/24",), gateway="192.0.2.1")
FIXED = Profile(kind=Kind.ETHERNET, source="/s", ipv4=STATIC)
OTHER_IP = replace(STATIC, addresses=("198.51.100.5/24",))
VLAN = replace(FIXED, kind=Kind.VLAN, interface="net0", vlan=Vlan(id=5, parent="eth0"))
WIFI_FIXED = replace(HOME, ipv4=STATIC)
WIFI_LEASE = replace(HOME, ipv4=Ip())
LEASE = Profile(kind=Kind.ETHERNET, source="/s", interface="net0", ipv4=Ip())


def facts(kind: InterfaceKind, *, ssid: bytes = b"", dynamic: bool = True) -> NetworkFacts:
    return NetworkFacts(
        interfaces=(Interface(name="net0", kind=kind, ssid=ssid),),
        addresses=(InterfaceAddress(interface="net0", address="192.0.2.5/24", dynamic=dynamic),),
        default_routes=(DefaultRoute(interface="net0", gateway="192.0.2.1"),),
    )


def first(
    network: NetworkFacts, selection: Selection, config: Config | None = None, files: tuple[str, ...] | None = None
) -> Finding:
    return next(check_network(config or Config(), network, NetworkSettings(), selection, files))


BRIDGED = facts(InterfaceKind.BRIDGE)
BRIDGED = replace(BRIDGED, interfaces=(*BRIDGED.interfaces, Interface(name="eth0", kind=InterfaceKind.ETHERNET)))
WIFI = facts(InterfaceKind.WIFI, ssid=b"home")
WIRED = facts(InterfaceKind.ETHERNET, dynamic=False)


@pytest.mark.parametrize(
    ("network", "selection"),
    [
        (WIFI, Selection(profiles=(OTHER, HOME))),
        (facts(InterfaceKind.WIFI, ssid=b"home", dynamic=False), Selection(profiles=(WIFI_FIXED,))),
        (facts(InterfaceKind.WIFI, ssid=b"home", dynamic=False), Selection(profiles=(WIFI_LEASE,))),
        (facts(InterfaceKind.ETHERNET), Selection()),
        (WIRED, Selection(profiles=(FIXED,))),
        (WIRED, Selection(automatic=(LEASE,))),
        (facts(InterfaceKind.VLAN, dynamic=False), Selection(profiles=(VLAN,))),
        (BRIDGED, Selection()),
        (facts(InterfaceKind.MODEM), Selection(profiles=(Profile(kind=Kind.GSM, source="/s", interface="ttyUSB2"),))),
    ],
)
def test_a_counterpart_is_found(network: NetworkFacts, selection: Selection) -> None:
    assert first(network, selection).code == "network-online"


@pytest.mark.parametrize(
    ("network", "selection"),
    [
        (WIFI, Selection(profiles=(OTHER,), left_out=(HOME,))),
        (WIFI, Selection(profiles=(replace(WIFI_FIXED, ipv4=OTHER_IP),))),
        (WIFI, Selection(profiles=(replace(WIFI_FIXED, ipv4=replace(STATIC, gateway="")),))),
        (WIFI, Selection(profiles=(replace(HOME, ipv4=Ip(method=Method.DISABLED)),))),
        (facts(InterfaceKind.MODEM), Selection(profiles=(Profile(kind=Kind.GSM, source="/s", autoconnect=False),))),
        (WIRED, Selection()),
        (facts(InterfaceKind.WIFI), Selection()),
        (WIRED, Selection(profiles=(replace(FIXED, autoconnect=False),))),
        (WIRED, Selection(profiles=(replace(FIXED, interface="net1"),))),
        (WIRED, Selection(profiles=(replace(FIXED, ipv4=replace(STATIC, gateway="192.0.2.9")),))),
        (facts(InterfaceKind.ETHERNET), Selection(profiles=(replace(FIXED, ipv4=OTHER_IP),))),
        (facts(InterfaceKind.ETHERNET), Selection(profiles=(replace(FIXED, ipv4=Ip(method=Method.LINK_LOCAL)),))),
        (facts(InterfaceKind.MODEM), Selection(profiles=(HOME,))),
        (facts(InterfaceKind.BRIDGE), Selection(profiles=(FIXED,))),
        (facts(InterfaceKind.BOND), Selection(profiles=(FIXED,))),
        (facts(InterfaceKind.VLAN), Selection(profiles=(FIXED,))),
        (facts(InterfaceKind.VLAN, dynamic=False), Selection(profiles=(replace(VLAN, ipv4=OTHER_IP),))),
    ],
)
def test_a_lost_connection_blocks_unless_overridden(network: NetworkFacts, selection: Selection) -> None:
    finding = first(network, selection)
    assert (finding.code, finding.severity) == ("network-lost", Severity.BLOCKER)
    assert finding.remedy
    assert first(network, selection, Config(allow_offline=True)).severity is Severity.WARNING


def test_the_remedy_names_the_setting_that_leaves_the_network_out() -> None:
    assert "MIGRATE_ALL_WIFIS" in first(WIFI, Selection(left_out=(HOME,))).remedy


def test_an_image_with_its_own_wifi_is_trusted_with_a_warning() -> None:
    config = Config(has_wifi_cfg=True)
    assert first(WIFI, Selection(), config, ("system-connections/resin-wifi-01",)).severity is Severity.WARNING
    assert first(WIFI, Selection(), config).severity is Severity.WARNING
    assert first(WIFI, Selection(), config, ()).severity is Severity.BLOCKER


@pytest.mark.parametrize("name", ["resin-wifi", "resin-wifi01", "resin-wifi-01"])
def test_the_images_wifi_may_have_the_name_that_balenas_programs_give_it(name: str) -> None:
    config = Config(has_wifi_cfg=True)
    found = list(check_network(config, WIFI, NetworkSettings(), Selection(), (f"system-connections/{name}",)))
    assert [(f.code, f.severity) for f in found] == [("network-lost", Severity.WARNING)]


def test_the_images_own_files_are_not_replaced_in_silence() -> None:
    files = ("system-connections/RESIN-WIFI-01",)
    found = list(check_network(Config(), WIFI, NetworkSettings(), Selection(profiles=(HOME,)), files))
    assert [f.code for f in found] == ["network-online", "network-file-replaced"]
    kept = list(check_network(Config(has_wifi_cfg=True), WIFI, NetworkSettings(), Selection(profiles=(HOME,)), files))
    assert [f.code for f in kept] == ["network-online"]


def test_a_wifi_network_that_cannot_be_told_is_a_warning() -> None:
    finding = first(facts(InterfaceKind.WIFI), Selection(profiles=(OTHER,)))
    assert (finding.code, finding.severity) == ("wifi-in-use-unknown", Severity.WARNING)


def test_networkmanagers_active_connection_tells_the_wifi_network() -> None:
    uuid = "5d0f9d5e-96a2-4d3c-b6c4-0c3fd0a1b2c3"
    network = facts(InterfaceKind.WIFI)
    network = replace(network, interfaces=(replace(network.interfaces[0], connection=uuid),))
    active = replace(HOME, keyfile=parse_keyfile(f"[connection]\nuuid={uuid}\n"))
    assert first(network, Selection(profiles=(OTHER, active))).code == "network-online"
    lost = first(network, Selection(profiles=(OTHER,), left_out=(active,)))
    assert lost.code == "network-lost" and "Wi-Fi network home" in lost.cause
    assert first(network, Selection(profiles=(OTHER,))).code == "wifi-in-use-unknown"


def test_without_a_default_route_several_interfaces_with_addresses_are_refused() -> None:
    kinds = {"net0": InterfaceKind.ETHERNET, "net1": InterfaceKind.WIFI}
    several = NetworkFacts(
        interfaces=tuple(Interface(name=name, kind=kind) for name, kind in kinds.items()),
        addresses=tuple(InterfaceAddress(interface=name, address="192.0.2.5/24") for name in kinds),
    )
    cases = ((NetworkFacts(), Config()), (several, Config()), (several, Config(allow_offline=True)))
    found = [first(network, Selection(), config) for network, config in cases]
    assert [finding.code for finding in found] == ["network-offline"] * 3
    assert [finding.severity for finding in found] == [Severity.WARNING, Severity.BLOCKER, Severity.WARNING]
    assert "net0, net1" in found[1].cause


def test_a_driver_that_the_new_system_may_lack_is_said_though_its_wifi_network_is_unknown() -> None:
    network = facts(InterfaceKind.WIFI)
    foreign = replace(network.interfaces[0], foreign_driver="it was built on this device")
    settings, selection = NetworkSettings(), Selection(profiles=(OTHER,))
    found = check_network(Config(), replace(network, interfaces=(foreign,)), settings, selection, None)
    assert [finding.code for finding in found] == ["network-driver", "wifi-in-use-unknown"]


def test_what_is_not_carried_is_told() -> None:
    problems = (Problem(source="/f", subject="x", reason="why"), Problem(source="/f", reason="detail", lost=False))
    settings = NetworkSettings(problems=problems)
    findings = list(check_network(Config(), NetworkFacts(), settings, Selection(unknown=("gone",))))
    assert [(f.code, f.cause.startswith("/f")) for f in findings[1:3]] == [
        ("network-not-carried", True),
        ("network-detail-not-carried", True),
    ]
    assert "gone" in findings[3].cause
