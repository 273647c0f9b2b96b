# SPDX-License-Identifier: Apache-2.0
"""All sources together: duplicates, addresses kept apart, patterns, and input that means harm."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from balena_migrate.facts.network import Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.network.merge import merge
from balena_migrate.network.model import Ip, Kind, Method, NetworkSettings, Profile
from balena_migrate.network.read import read_network
from balena_migrate.network.reading import LIMIT_BYTES
from balena_migrate.network.select import boot_files, select_profiles
from balena_migrate.network.sources import all_sources
from balena_migrate.network.write.keyfile import write_keyfile
from balena_migrate.settings import Config
from tests.support.network import Device, read_networks
from tests.support.oracle import Oracle

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WPA = "/etc/wpa_supplicant/wpa_supplicant.conf"
NM = "/etc/NetworkManager/system-connections/home"
HOME = 'network={\nssid="home"\npsk="passphrase"\n}\n'
KEYFILE = "[connection]\nid=home\ntype=wifi\n[wifi]\nssid=home\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=passphrase\n"
DHCPCD = "interface wlan0\nstatic ip_address=192.0.2.5/24\nstatic routers=192.0.2.1\n"


def sources_of(device: Device) -> list[str]:
    return [profile.source for profile in read_networks(device.system).profiles]


def test_the_same_network_in_two_places_is_one(device: Device) -> None:
    device.put(WPA, HOME)
    device.put(NM, KEYFILE)
    assert sources_of(device) == [NM]


def test_one_name_with_two_passphrases_is_kept_twice(device: Device) -> None:
    device.put(WPA, HOME + HOME.replace("passphrase", "other passphrase"))
    device.put(NM, KEYFILE)
    assert sources_of(device) == [NM, WPA]


def test_order_and_priorities_are_kept(device: Device) -> None:
    blocks = [f'network={{\nssid="{n}"\nkey_mgmt=NONE\npriority={p}\n}}\n' for n, p in (("c", 1), ("a", 9), ("b", 5))]
    device.put(WPA, "".join(blocks))
    assert [(p.name, p.priority) for p in read_networks(device.system).profiles] == [("c", 1), ("a", 9), ("b", 5)]


def test_addresses_of_dhcpcd_go_to_the_wifi_networks(device: Device) -> None:
    device.put(WPA, HOME)
    device.put("/etc/dhcpcd.conf", DHCPCD + DHCPCD.replace("wlan0", "eth0").replace("2.5", "2.6"))
    wifi, wired = read_networks(device.system).profiles
    assert wifi.ipv4 and wifi.ipv4.addresses == ("192.0.2.5/24",)
    assert wired.kind is Kind.ETHERNET and wired.ipv4 and wired.ipv4.addresses == ("192.0.2.6/24",)


def test_addresses_of_ifupdown_go_to_the_networks_of_its_file(device: Device) -> None:
    device.put(WPA, HOME)
    text = f"auto wlan0\niface wlan0 inet static\n address 192.0.2.5/24\n wpa-conf {WPA}\n"
    device.put("/etc/network/interfaces", text)
    (profile,) = read_networks(device.system).profiles
    assert profile.ipv4 and profile.ipv4.addresses == ("192.0.2.5/24",)


def test_wired_8021x_gets_the_addresses_of_its_interface(device: Device) -> None:
    block = 'network={\nkey_mgmt=IEEE8021X\neap=PEAP\nidentity="i"\npassword="p"\n}\n'
    device.put("/etc/wpa_supplicant/wpa_supplicant-wired-eth0.conf", block)
    device.put("/etc/dhcpcd.conf", DHCPCD.replace("wlan0", "eth0"))
    (profile,) = read_networks(device.system).profiles
    assert profile.eap and profile.ipv4 and profile.ipv4.addresses == ("192.0.2.5/24",)


def test_two_programs_with_other_addresses_for_one_interface_are_told(device: Device) -> None:
    device.put("/etc/netplan/a.yaml", "network: {ethernets: {eth0: {addresses: [192.0.2.7/24]}}}")
    device.put("/etc/dhcpcd.conf", DHCPCD.replace("wlan0", "eth0"))
    found = read_networks(device.system)
    assert [p.source for p in found.profiles] == ["/etc/netplan/a.yaml"]
    assert [(p.source, p.subject) for p in found.problems] == [("/etc/dhcpcd.conf", "eth0")]


def test_of_two_programs_the_one_whose_address_is_in_use_counts() -> None:
    facts = NetworkFacts(addresses=(InterfaceAddress(interface="eth0", address="192.0.2.6/24"),))
    both = [
        Profile(
            kind=Kind.LINK,
            source=f"/{n}",
            interface="eth0",
            ipv4=Ip(method=Method.MANUAL, addresses=(f"192.0.2.{n}/24",)),
        )
        for n in (5, 6)
    ]
    merged, problems = merge(both, facts, lambda profile: True)
    assert [p.source for p in merged] == ["/6"] and [p.source for p in problems] == ["/5"]


def test_patterns_become_the_interfaces_that_there_are() -> None:
    devices = [("eth0", InterfaceKind.ETHERNET), ("eth1", InterfaceKind.ETHERNET), ("wlan0", InterfaceKind.WIFI)]
    facts = NetworkFacts(interfaces=tuple(Interface(name=name, kind=kind) for name, kind in devices))
    ip = Ip(method=Method.MANUAL, addresses=("192.0.2.5/24",))
    profiles = [Profile(kind=Kind.LINK, source="/s", interface=pattern, ipv4=ip) for pattern in ("eth*", "wl*", "x*")]
    merged, problems = merge(profiles, facts, lambda profile: True)
    assert [profile.interface for profile in merged] == ["eth0", "eth1"]
    assert [problem.subject for problem in problems] == ["x*", "wlan0"]  # no such interface; no Wi-Fi network


def test_a_network_that_one_place_switches_off_connects_where_another_has_it_on(device: Device) -> None:
    device.put(WPA, HOME.replace("psk=", "disabled=1\npsk=") + HOME)
    (profile,) = read_networks(device.system).profiles
    assert profile.autoconnect


@pytest.mark.processes
def test_a_network_that_is_hidden_in_one_place_is_hidden(device: Device, oracle: Oracle) -> None:
    device.put(NM, KEYFILE)
    device.put(WPA, HOME.replace("psk=", "scan_ssid=1\npsk="))
    (profile,) = read_networks(device.system).profiles
    assert oracle.read(write_keyfile(profile, "a").dump())["802-11-wireless"]["hidden"] is True


def test_access_points_of_one_name_are_all_kept(device: Device) -> None:
    blocks = [HOME.replace("psk=", f"bssid=00:11:22:33:44:0{n}\npsk=") for n in (1, 2)]
    device.put(WPA, "".join(blocks))
    assert [p.wifi and p.wifi.bssid[-1] for p in read_networks(device.system).profiles] == ["1", "2"]


WIRED = Interface(name="eth0", kind=InterfaceKind.ETHERNET, mac="00:11:22:33:44:55", mac_permanent=True)
WIRELESS = Interface(name="wlan0", kind=InterfaceKind.WIFI, mac="00:11:22:33:44:66", mac_permanent=True, ssid=b"home")


def facts_of(*interfaces: Interface, address: str = "192.0.2.5/24") -> NetworkFacts:
    """The last of the interfaces has the address."""
    addresses = (InterfaceAddress(interface=interfaces[-1].name, address=address),)
    return NetworkFacts(interfaces=interfaces, addresses=addresses)


def read_with(device: Device, facts: NetworkFacts) -> NetworkSettings:
    return read_network(device.system, facts)


def test_of_two_places_the_one_whose_address_is_in_use_counts_for_wifi_too(device: Device) -> None:
    """A NetworkManager that is left over says DHCP, while dhcpcd gives the address."""
    device.put(NM, KEYFILE)
    device.put(WPA, HOME)
    device.put("/etc/dhcpcd.conf", DHCPCD)
    found = read_with(device, facts_of(WIRED, WIRELESS))
    (profile,) = found.profiles
    assert profile.ipv4 and profile.ipv4.addresses == ("192.0.2.5/24",)
    assert [(p.source, "other settings" in p.reason) for p in found.problems] == [(NM, True)]
    (profile,) = read_with(device, facts_of(WIRED, WIRELESS, address="192.0.2.77/24")).profiles
    assert profile.source == NM


def test_fixed_addresses_that_no_wifi_network_takes_are_told(device: Device) -> None:
    device.put(NM, KEYFILE)
    device.put("/etc/dhcpcd.conf", DHCPCD)
    found = read_with(device, facts_of(WIRED, WIRELESS))
    assert [(p.source, p.subject) for p in found.problems] == [("/etc/dhcpcd.conf", "wlan0")]
    device.put("/etc/dhcpcd.conf", "interface wlan0\nmetric 5\n")
    assert read_with(device, facts_of(WIRED, WIRELESS)).problems == ()


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("/etc/dhcpcd.conf", "ssid home\nstatic ip_address=192.0.2.5/24\nstatic routers=192.0.2.1\n"),
        ("/etc/systemd/network/a.network", "[Match]\nName=wlan0\nSSID=home\n[Network]\nAddress=192.0.2.5/24\n"),
    ],
)
def test_addresses_for_one_wifi_network_go_to_it_alone(device: Device, place: str, text: str) -> None:
    device.put(WPA, HOME.replace('"home"', '"other"') + HOME)
    device.put(place, text)
    found = read_networks(device.system)
    assert [p.ipv4 and p.ipv4.addresses for p in found.profiles] == [None, ("192.0.2.5/24",)]
    device.put(WPA, HOME.replace('"home"', '"other"'))
    assert [p.subject for p in read_networks(device.system).problems] == ["home"]


def test_one_interface_by_name_and_by_hardware_address_is_one(device: Device) -> None:
    text = "[Match]\nMACAddress={}\n[Network]\nAddress={}/24\n"
    device.put("/etc/systemd/network/a.network", text.format(WIRED.mac, "192.0.2.5"))
    device.put("/etc/systemd/network/b.network", text.format(WIRELESS.mac, "192.0.2.6"))
    device.put("/etc/dhcpcd.conf", DHCPCD.replace("wlan0", "eth0").replace("2.5", "2.7"))
    device.put("/etc/wpa_supplicant/wpa_supplicant-wlan0.conf", HOME)
    found = read_with(device, facts_of(WIRELESS, WIRED))
    assert [(p.kind, p.ipv4 and p.ipv4.addresses) for p in found.profiles] == [
        (Kind.WIFI, ("192.0.2.6/24",)),
        (Kind.ETHERNET, ("192.0.2.5/24",)),
    ]
    assert [p.source for p in found.problems] == ["/etc/dhcpcd.conf"]


def test_a_hardware_address_that_a_bond_gives_to_its_ports_names_none_of_them() -> None:
    ports = tuple(replace(WIRED, name=name, mac_permanent=False) for name in ("eth1", "eth0"))
    profile = Profile(kind=Kind.ETHERNET, source="/s", mac=WIRED.mac, ipv4=Ip(method=Method.LINK_LOCAL))
    assert merge([profile], NetworkFacts(interfaces=ports), lambda profile: True) == ((profile,), ())


BRIDGE = "[connection]\nid=lan\nuuid=7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11\ntype=bridge\ninterface-name={}\n"
PORT = "[connection]\nid=port\ntype=ethernet\ninterface-name=eth0\n{0}={1}\n{2}=bridge\n"


@pytest.mark.parametrize("words", [("master", "slave-type"), ("controller", "port-type")])
@pytest.mark.parametrize("by", ["name", "uuid"])
def test_a_port_stays_behind_with_its_bridge(device: Device, words: tuple[str, str], by: str) -> None:
    """Else it would wait for a bridge that never comes, instead of getting a lease."""
    for name, kept in (("br0", []), ("lan0", [Kind.OTHER, Kind.ETHERNET])):
        master = name if by == "name" else "7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11"
        device.put("/etc/NetworkManager/system-connections/a", BRIDGE.format(name))
        device.put("/etc/NetworkManager/system-connections/b", PORT.format(words[0], master, words[1]))
        found = read_networks(device.system)
        assert [profile.kind for profile in found.profiles] == kept
        assert len(found.problems) == (0 if kept else 2)


@pytest.mark.parametrize("kind", [InterfaceKind.BRIDGE, InterfaceKind.BOND])
def test_a_vlan_stays_behind_with_what_it_stands_on(device: Device, kind: InterfaceKind) -> None:
    device.put("/etc/network/interfaces", "auto lan.5\niface lan.5 inet dhcp\n")
    found = read_with(device, facts_of(Interface(name="lan", kind=kind)))
    assert found.profiles == () and "lan" in found.problems[0].reason
    assert len(read_with(device, facts_of(replace(WIRED, name="lan"))).profiles) == 1


def test_what_cannot_work_is_a_problem_and_no_profile(device: Device) -> None:
    device.put(WPA, HOME.replace("passphrase", "short"))
    found = read_networks(device.system)
    assert not found.profiles
    assert found.problems[0].subject == "home" and "8 to 63" in found.problems[0].reason


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("/etc/modprobe.d/wifi.conf", "# x\noptions cfg80211 ieee80211_regdom=GB\n"),
        ("/proc/cmdline", "quiet cfg80211.ieee80211_regdom=GB\n"),
        ("/etc/default/crda", "# x\nREGDOMAIN=GB\n"),
    ],
)
def test_the_country_of_the_whole_system(device: Device, place: str, text: str) -> None:
    device.put(place, text)
    assert read_networks(device.system).country == "GB"


def test_the_country_of_any_source(device: Device) -> None:
    device.put(WPA, "country=nonsense\n")
    device.put("/etc/iwd/main.conf", "[General]\nCountry=GB\n")
    assert read_networks(device.system).country == "GB"


# Input that means harm

PLACES = (
    WPA,
    NM,
    "/etc/netplan/a.yaml",
    "/etc/systemd/network/a.network",
    "/etc/systemd/network/a.netdev",
    "/etc/dhcpcd.conf",
    "/etc/network/interfaces",
    "/var/lib/connman/wifi_001122334455_41_managed_psk/settings",
    "/var/lib/connman/a.config",
    "/var/lib/iwd/a.psk",
    "/etc/redsocks.conf",
    "/etc/environment",
)


def read_quickly(device: Device) -> NetworkSettings:
    """Within seconds of the processor's time, however busy the machine is."""
    start_s = time.process_time()
    found = read_networks(device.system)
    assert time.process_time() - start_s < 10
    return found


@pytest.mark.parametrize("place", PLACES)
def test_a_huge_file_is_a_clear_error(device: Device, place: str) -> None:
    device.put(place, b"")
    os.truncate(device.root / place.lstrip("/"), 100 << 20)
    (problem,) = read_quickly(device).problems
    assert problem.source == place and "larger than" in problem.reason


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("content", [b"\0", b"a\0b=c\n", b"[a]\nb=\0\n"], ids=["one", "in a line", "in a value"])
def test_nul_bytes_are_a_clear_error(device: Device, place: str, content: bytes) -> None:
    device.put(place, content)
    (problem,) = read_quickly(device).problems
    assert problem.source == place and "NUL" in problem.reason


@pytest.mark.parametrize("place", PLACES)
def test_loops_of_links_folders_and_pipes_are_no_files(device: Device, place: str) -> None:
    path = device.root / place.lstrip("/")
    path.parent.mkdir(parents=True)
    makers: tuple[Callable[[], None], ...] = (lambda: path.symlink_to(path.name), path.mkdir, lambda: os.mkfifo(path))
    for make in makers:
        make()
        found = read_quickly(device)
        assert not found.profiles
        assert {problem.source for problem in found.problems} <= {place}
        path.rename(device.root / f"done{len(list(device.root.iterdir()))}")


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(st.sampled_from('ab=[]{}"\\#;:-&*\n\t 09/.'), max_size=200)))
def test_any_content_is_read_or_refused(device: Device, place: str, content: bytes | str) -> None:
    device.put(place, content)
    found = read_networks(device.system)
    for profile in found.profiles:
        write_keyfile(profile, "a").dump()


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "line"),
    [
        (WPA, 'network={{\nssid="{0}"\nkey_mgmt=NONE\n}}\n'),
        (NM, "[ipv4]\naddress{0}=192.0.2.5/24\n"),
        (NM, "[g{0}]\na=b\n"),
        ("/etc/netplan/a.yaml", "a{0}: &a{0} [b]\n"),
        ("/etc/netplan/a.yaml", "network: {{a: {{a: {{\n"),
        ("/etc/systemd/network/a.network", "[Route]\nDestination=10.0.0.0/8\nGateway=192.0.2.1\n"),
        ("/etc/systemd/network/a.network", "[Match]\nName=e{0}\n"),
        ("/etc/dhcpcd.conf", "interface e{0}\nstatic ip_address=192.0.2.5/24\n"),
        ("/etc/network/interfaces", "iface e{0} inet dhcp\n"),
        ("/etc/network/interfaces", "source /**\nsource /\nsource *{0}**/*\nsource-directory /\n"),
        ("/var/lib/connman/a.config", "[service_{0}]\nType=ethernet\n"),
        ("/var/lib/iwd/a.psk", "[@pem@a]\n-----BEGIN x\nabc\n"),
        ("/etc/network/interfaces", "iface e{0} inet dhcp inherits e\nauto /e*=e{0}\n"),
        ("/etc/redsocks.conf", "/* redsocks {{ \n\n"),
        ("/etc/redsocks.conf", "redsocks {{\n\n"),
        ("/etc/environment", "\n \n"),
    ],
)
def test_a_full_file_of_one_thing_takes_bounded_time(device: Device, place: str, line: str) -> None:
    size, text = 0, list[str]()
    for number in range(LIMIT_BYTES):
        text.append(line.format(number))
        size += len(text[-1])
        if size > LIMIT_BYTES - 200:
            break
    device.put(place, "".join(text))
    select_profiles(Config(migrate_all_wifis=True), read_quickly(device), device.system)


LONG = "9" * 5000
SAMPLES = {
    WPA: "country=GB\n" + HOME + 'network={\nssid=00ff\nkey_mgmt=NONE\nwep_key0="abcde"\npriority=3\n}\n',
    NM: KEYFILE + "[ipv4]\nmethod=manual\naddress1=192.0.2.5/24,192.0.2.1\ndns=192.0.2.1;\nroute1=10.0.0.0/8\n",
    "/etc/netplan/a.yaml": """network:
  ethernets: {eth0: {addresses: [192.0.2.5/24], mtu: 1400, routes: [{to: default, via: 192.0.2.1, metric: 5}]}}
  vlans: {v: {id: 5, link: eth0}}
  wifis: {wlan0: {dhcp4: true, access-points: {home: {password: passphrase, channel: 7, band: 2.4GHz}}}}
""",
    "/etc/systemd/network/a.network": "[Match]\nName=eth0\n[Network]\nAddress=192.0.2.5/24\n"
    "[Route]\nGateway=192.0.2.1\n",
    "/etc/systemd/network/a.netdev": "[NetDev]\nName=v5\nKind=vlan\n[VLAN]\nId=5\n",
    "/etc/dhcpcd.conf": DHCPCD + "static interface_mtu=1400\nmetric 5\n",
    "/etc/network/interfaces": "auto eth0.5\niface eth0.5 inet static\n address 192.0.2.5\n netmask 24\n mtu 1400\n"
    " up ip route add 10.0.0.0/8 via 192.0.2.1 metric 5\n",
    "/var/lib/connman/a.config": "[service_a]\nType=ethernet\nIPv4=192.0.2.5/24/192.0.2.1\n",
    "/var/lib/iwd/a.psk": "[Security]\nPassphrase=passphrase\n[IPv4]\nAddress=192.0.2.5\nNetmask=24\n",
    "/etc/redsocks.conf": 'redsocks {\n type = socks5; ip = 192.0.2.1;\n port = 1080;\n login = "a";\n}\n',
    "/etc/environment": "https_proxy=http://a:b@192.0.2.1:3128/\nno_proxy=10.0.0.0/8\n",
}
PIECES = st.sampled_from(
    ["", "\n", '"', "\\", "=", " ", "[", "]", "{", "}", "/", ":", ";", "-1", "\u00b2", "\ud7ff", "%", LONG]
)


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.parametrize("place", SAMPLES)
@settings(QUICK, derandomize=True)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(device: Device, oracle: Oracle, place: str, data: st.DataObject) -> None:
    """A piece of a good file is replaced by one that means harm; libnm takes whatever we still take.

    But not of keyfiles: those are kept as they are, and what libnm does not take was not in use before either.
    """
    good = SAMPLES[place]
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 8)))
    device.put(place, good[:start] + data.draw(PIECES) + good[end:])
    found = read_networks(device.system)
    selection = select_profiles(Config(migrate_all_wifis=True), found, device.system)
    for file in boot_files(Config(), selection, NetworkFacts()):
        if file.path.startswith("system-connections/") and place != NM:
            answer = oracle.ask(file.content.decode("utf-8", "surrogateescape"))
            assert "connection" in answer, (answer, file.content)


def test_a_path_with_a_line_break_is_named_as_it_is(device: Device) -> None:
    device.put("/etc/NetworkManager/system-connections/a\nb", "nonsense")
    (problem,) = read_networks(device.system).problems
    assert problem.source.endswith("/a\nb")


def test_a_folder_in_place_of_all_files_is_no_error(device: Device) -> None:
    for place in ("/etc/netplan/a.yaml", WPA, "/etc/network/interfaces", "/etc/dhcpcd.conf"):
        (device.root / place.lstrip("/")).mkdir(parents=True)
    assert not read_networks(device.system).profiles


# The way from a source to the new system

PASSPHRASES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=8, max_size=63)


def printf(data: bytes) -> str:
    return 'P"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def yaml(text: str) -> str:
    return '"' + "".join(f"\\U{ord(sign):08x}" for sign in text) + '"'


def iwd_escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(" ", "\\s")


def comes_through(device: Device, oracle: Oracle, ssid: bytes, secret: str) -> None:
    (profile,) = read_networks(device.system).profiles
    found = oracle.read(write_keyfile(profile, "resin-wifi-01").dump())
    assert bytes(found["802-11-wireless"]["ssid"]["bytes"]) == ssid
    assert found["802-11-wireless-security"]["psk"] == secret


@pytest.mark.long
@pytest.mark.processes
@QUICK
@given(ssid=st.binary(min_size=1, max_size=32), secret=PASSPHRASES)
def test_from_wpa_supplicant_to_libnm(device: Device, oracle: Oracle, ssid: bytes, secret: str) -> None:
    for form in (ssid.hex(), printf(ssid)):
        device.put(WPA, f'network={{\nssid={form}\npsk="{secret}"\n}}\n')
        comes_through(device, oracle, ssid, secret)


@pytest.mark.long
@pytest.mark.processes
@QUICK
@given(
    ssid=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8),
    secret=PASSPHRASES,
)
def test_from_netplan_to_libnm(device: Device, oracle: Oracle, ssid: str, secret: str) -> None:
    point = f"{{{yaml(ssid)}: {{password: {yaml(secret)}}}}}"
    device.put("/etc/netplan/a.yaml", f"network: {{wifis: {{wlan0: {{dhcp4: true, access-points: {point}}}}}}}")
    comes_through(device, oracle, ssid.encode(), secret)


@pytest.mark.long
@pytest.mark.processes
@QUICK
@given(ssid=st.binary(min_size=1, max_size=32), secret=PASSPHRASES)
def test_from_iwd_to_libnm(device: Device, oracle: Oracle, ssid: bytes, secret: str) -> None:
    place = f"/var/lib/iwd/={ssid.hex()}.psk"
    device.put(place, f"[Security]\nPassphrase={iwd_escaped(secret)}\n")
    comes_through(device, oracle, ssid, secret)
    (device.root / place.lstrip("/")).unlink()


@pytest.mark.long
@pytest.mark.processes
@QUICK
@given(ssid=st.binary(min_size=1, max_size=32), secret=PASSPHRASES)
def test_from_connman_to_libnm(device: Device, oracle: Oracle, ssid: bytes, secret: str) -> None:
    text = f"[x]\nSSID={ssid.hex()}\nFavorite=true\nPassphrase={iwd_escaped(secret)}\n"
    device.put("/var/lib/connman/wifi_001122334455_41_managed_psk/settings", text)
    comes_through(device, oracle, ssid, secret)


@pytest.mark.long
@pytest.mark.processes
@QUICK
@given(ssid=st.binary(min_size=1, max_size=32), secret=PASSPHRASES)
def test_from_networkmanager_to_libnm(device: Device, oracle: Oracle, ssid: bytes, secret: str) -> None:
    numbers = "".join(f"{byte};" for byte in ssid)
    text = KEYFILE.replace("ssid=home", f"ssid={numbers}").replace("psk=passphrase", f"psk={iwd_escaped(secret)}")
    device.put(NM, text)
    comes_through(device, oracle, ssid, secret)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
ANY_TEXT = ANY_TEXT.filter(lambda text: not text.startswith("\f"))


def login_comes_through(device: Device, oracle: Oracle, identity: str, password: str) -> None:
    (profile,) = read_networks(device.system).profiles
    found = oracle.read(write_keyfile(profile, "resin-wifi-01").dump())["802-1x"]
    assert (found["identity"], found["password"], found["eap"]) == (identity, password, ["ttls"])


@pytest.mark.long
@pytest.mark.processes
@QUICK
@given(identity=ANY_TEXT, password=ANY_TEXT)
def test_a_login_from_wpa_supplicant_and_from_netplan(
    device: Device, oracle: Oracle, identity: str, password: str
) -> None:
    pairs = f"identity={printf(identity.encode())}\npassword={printf(password.encode())}\n"
    device.put(WPA, f'network={{\nssid="a"\nkey_mgmt=WPA-EAP\neap=TTLS\nphase2="auth=PAP"\n{pairs}}}\n')
    login_comes_through(device, oracle, identity, password)
    login = f"identity: {yaml(identity)}, password: {yaml(password)}"
    auth = f"{{key-management: eap, method: ttls, phase2-auth: PAP, {login}}}"
    device.put(WPA, "")
    device.put("/etc/netplan/a.yaml", f"network: {{wifis: {{wlan0: {{access-points: {{a: {{auth: {auth}}}}}}}}}}}")
    login_comes_through(device, oracle, identity, password)
    (device.root / "etc/netplan/a.yaml").unlink()


@pytest.mark.parametrize("key", ["identity", "anonymous_identity", "password"])
def test_a_login_that_no_keyfile_can_hold_is_refused(device: Device, key: str) -> None:
    pairs = {"identity": "i", "anonymous_identity": "a", "password": "p"} | {key: "\fx"}
    lines = "".join(f"{name}={printf(text.encode())}\n" for name, text in pairs.items())
    device.put(WPA, f'network={{\nssid="a"\nkey_mgmt=WPA-EAP\neap=TTLS\n{lines}}}\n')
    found = read_networks(device.system)
    assert not found.profiles and "form feed" in found.problems[0].reason


def test_no_source_reads_outside_of_its_system(tmp_path: Path) -> None:
    """Every source gets along with an empty system."""
    for source in all_sources():
        assert source.read(Device(tmp_path).system).profiles == ()
