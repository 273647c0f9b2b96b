# SPDX-License-Identifier: Apache-2.0
"""How this system uses IPv6 beside its profiles: off, private, without advertisements; it goes along or is named."""

from __future__ import annotations

import pytest

from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.network.model import Ip, Method, NetworkSettings, Profile
from balena_migrate.network.read import read_network
from balena_migrate.network.select import select_profiles
from tests.support.network import ALL_WIFIS, Device, read_networks

OFF = "/proc/sys/net/ipv6/conf/yard6/disable_ipv6"
INTERFACES = "auto yard6\niface yard6 inet dhcp\n"


def now(kind: InterfaceKind = InterfaceKind.ETHERNET) -> NetworkFacts:
    return NetworkFacts(
        interfaces=(Interface(name="yard6", kind=kind, mac="02:25:00:00:00:06", mac_permanent=True, ssid=b"Yard"),),
        addresses=(InterfaceAddress(interface="yard6", address="172.25.1.6/24", dynamic=True),),
        default_routes=(DefaultRoute(interface="yard6", gateway="172.25.1.1"),),
        name_servers=("172.25.0.53",),
    )


def selected(device: Device, network: NetworkFacts | None = None, os_version: str | None = None) -> tuple[Profile, ...]:
    network = network or now()
    settings = read_network(device.system, network, os_version)
    selection = select_profiles(ALL_WIFIS, settings, device.system)
    codes = {finding.code for finding in check_network(ALL_WIFIS, network, settings, selection)}
    assert codes <= {"network-online", "network-detail-not-carried"}
    return selection.profiles


@pytest.mark.parametrize("interfaces", [INTERFACES, ""], ids=["ifupdown", "no profile"])
def test_ipv6_that_sysctl_has_switched_off_stays_off(device: Device, interfaces: str) -> None:
    device.put("/etc/network/interfaces", interfaces)
    assert selected(device) == ()
    device.put(OFF, "1\n")
    (profile,) = selected(device)
    assert profile.ipv6 == Ip(method=Method.DISABLED) and profile.ipv4 in (None, Ip())
    device.put(OFF, "0\n")
    assert selected(device) == ()


def test_ipv6_that_the_kernel_was_started_without_stays_off(device: Device) -> None:
    device.put("/etc/network/interfaces", INTERFACES)
    device.put("/proc/sys/net/ipv4/ip_forward", "0\n")
    (profile,) = selected(device)
    assert profile.ipv6 == Ip(method=Method.DISABLED)
    device.put("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n")
    assert selected(device) == ()


def test_each_wifi_network_is_without_it_too(device: Device) -> None:
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", 'network={\n ssid="Yard"\n key_mgmt=NONE\n}\n')
    device.put(OFF, "1\n")
    (profile,) = selected(device, now(InterfaceKind.WIFI))
    assert profile.ipv6 == Ip(method=Method.DISABLED) and profile.ipv4 is None


def test_an_older_image_leaves_it_to_the_kernel_and_that_is_told(device: Device) -> None:
    device.put("/etc/network/interfaces", INTERFACES)
    device.put(OFF, "1\n")
    assert selected(device, os_version="2.38.0") == ()
    (problem,) = read_network(device.system, now(), "2.38.0").problems
    assert "IPv6 is left to the kernel" in problem.reason


def test_a_keyfile_says_itself_whether_it_uses_ipv6(device: Device) -> None:
    text = "[connection]\ntype=ethernet\ninterface-name=yard6\n[ipv6]\nmethod=auto\n"
    device.put("/etc/NetworkManager/system-connections/yard", text)
    device.put(OFF, "1\n")
    (profile,) = selected(device)
    assert profile.ipv6 and profile.ipv6.method is Method.AUTO


def test_an_interface_that_is_not_in_use_shows_nothing(device: Device) -> None:
    """NetworkManager and systemd-networkd switch IPv6 off on links that they do not use."""
    device.put("/etc/network/interfaces", INTERFACES)
    device.put(OFF, "1\n")
    network = now()
    idle = NetworkFacts(interfaces=network.interfaces)
    assert read_network(device.system, idle).profiles[0].ipv6 == Ip()


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("/etc/sysctl.conf", "net.ipv6.conf.all.accept_ra=0\nnet.ipv6.conf.default.accept_ra = 0\n", ["accept_ra=0"]),
        ("/etc/sysctl.d/40-yard.conf", "-net/ipv6/conf/yard6.5/use_tempaddr = 2\n", ["use_tempaddr=2"]),
        ("/etc/sysctl.d/40-yard.conf", "net.ipv6.conf.yard6.autoconf=0\n", ["autoconf=0"]),
        ("/etc/sysctl.d/40-yard.conf", "#net.ipv6.conf.all.accept_ra=0\nnet.ipv6.conf.all.accept_ra=1\n", []),
        ("/etc/sysctl.d/40-yard.conf", "net.ipv4.conf.all.accept_ra=0\nnet.ipv6.conf.all.forwarding=1\n", []),
        ("/etc/sysctl.d/10-ipv6-privacy.conf", "net.ipv6.conf.all.use_tempaddr = 2\n", []),
        ("/usr/lib/sysctl.d/50-default.conf", "net.ipv6.conf.all.accept_ra=0\n", []),
    ],
)
def test_the_kernels_own_settings_are_told(device: Device, path: str, text: str, told: list[str]) -> None:
    device.put(path, text)
    problems = read_networks(device.system).problems
    assert [p.reason for p in problems] == [f"{setting} of IPv6 is not carried over" for setting in told]
    assert not any(problem.lost for problem in problems)


def ipv6(settings: NetworkSettings) -> Ip:
    (profile,) = settings.profiles
    assert profile.ipv6
    return profile.ipv6


NETWORKD = "[Match]\nName=yard6\n[Network]\nDHCP=ipv4\nIPv6PrivacyExtensions={}\n"
CONNMAN = "[service_yard]\nType=ethernet\nIPv6.Privacy={}\n"
IFUPDOWN = f"{INTERFACES}iface yard6 inet6 auto\n  privext {{}}\n"


@pytest.mark.parametrize(
    ("path", "text", "privacy"),
    [
        ("/etc/systemd/network/y.network", NETWORKD.format("yes"), "2"),
        ("/etc/systemd/network/y.network", NETWORKD.format("prefer-public"), "1"),
        ("/etc/systemd/network/y.network", NETWORKD.format("no"), "0"),
        ("/etc/systemd/network/y.network", NETWORKD.format("kernel"), None),
        ("/etc/network/interfaces", IFUPDOWN.format("2"), "2"),
        ("/var/lib/connman/y.config", CONNMAN.format("preferred"), "2"),
        ("/var/lib/connman/y.config", CONNMAN.format("enabled"), "1"),
        ("/var/lib/connman/y.config", CONNMAN.format("disabled"), None),
    ],
)
def test_private_addresses_stay_private(device: Device, path: str, text: str, privacy: str | None) -> None:
    device.put(path, text)
    settings = read_networks(device.system)
    assert dict(ipv6(settings).options).get("ip6-privacy") == privacy and settings.problems == ()


@pytest.mark.parametrize(
    ("stanza", "method"),
    [
        ("auto\n  accept_ra 0\n", Method.LINK_LOCAL),
        ("dhcp\n  accept_ra 0\n", Method.DHCP),
        ("dhcp\n", Method.AUTO),
        ("auto\n", Method.AUTO),
    ],
)
def test_ifupdown_without_router_advertisements(device: Device, stanza: str, method: Method) -> None:
    device.put("/etc/network/interfaces", f"{INTERFACES}iface yard6 inet6 {stanza}")
    settings = read_networks(device.system)
    assert ipv6(settings).method is method and settings.problems == ()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/var/lib/connman/y.config", "[service_yard]\nType=ethernet\nIPv6=off\n"),
        (
            "/var/lib/connman/ethernet_022500000006_cable/settings",
            "[ethernet_022500000006_cable]\nName=Wired\nIPv6.method=off\n",
        ),
    ],
)
def test_connman_switches_it_off(device: Device, path: str, text: str) -> None:
    device.put(path, text)
    assert ipv6(read_networks(device.system)).method is Method.DISABLED


def test_what_networkd_conf_says_for_all_is_told(device: Device) -> None:
    device.put("/etc/systemd/networkd.conf", "[Network]\nSpeedMeter=yes\nIPv6PrivacyExtensions=yes\n")
    device.put("/etc/systemd/networkd.conf.d/a.conf", "[DHCPv6]\nDUIDType=link-layer\n")
    assert read_networks(device.system).problems == ()
    device.put("/etc/systemd/network/y.network", "[Match]\nName=yard6\n[Network]\nDHCP=yes\n")
    told = [problem.reason for problem in read_networks(device.system).problems]
    assert told == [
        f"{key} for all interfaces is not carried over" for key in ("Network.IPv6PrivacyExtensions", "DHCPv6.DUIDType")
    ]
