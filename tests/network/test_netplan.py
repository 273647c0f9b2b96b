# SPDX-License-Identifier: Apache-2.0
"""netplan's YAML: merged as netplan does it, and bounded whatever it says."""

from __future__ import annotations

import time

import pytest

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.network.files.yaml import parse_yaml
from balena_migrate.network.model import Ip, Kind, Method, Modem, Profile, Reading, Route, Security
from balena_migrate.network.sources.netplan import read
from balena_migrate.network.write.keyfile import write_keyfile
from tests.support.network import Device, read_networks
from tests.support.oracle import Oracle


def reading(device: Device, text: str) -> Reading:
    device.put("/etc/netplan/01.yaml", "network:\n" + text)
    return read(device.system)


def one(device: Device, text: str) -> Profile:
    found = reading(device, text)
    assert not found.problems
    (profile,) = found.profiles
    return profile


def test_static_addresses(device: Device) -> None:
    text = """
  ethernets:
    eth0:
      addresses: [192.0.2.5/24, "2001:db8::5/64"]
      gateway6: "2001:db8::1"
      routes:
        - {to: default, via: 192.0.2.1, metric: 100}
        - {to: 10.0.0.0/8, via: 192.0.2.2, on-link: true, table: 7}
      nameservers: {addresses: [192.0.2.53, "2001:db8::53"], search: [example.org]}
      mtu: 1400
"""
    profile = one(device, text)
    assert (profile.kind, profile.interface, profile.mtu) == (Kind.ETHERNET, "eth0", 1400)
    assert profile.ipv4 == Ip(
        method=Method.MANUAL,
        addresses=("192.0.2.5/24",),
        gateway="192.0.2.1",
        metric=100,
        dns=("192.0.2.53",),
        search=("example.org",),
        routes=(Route(destination="10.0.0.0/8", gateway="192.0.2.2", on_link=True, table=7),),
    )
    assert profile.ipv6 and (profile.ipv6.gateway, profile.ipv6.dns) == ("2001:db8::1", ("2001:db8::53",))


def test_names_that_yaml_takes_for_numbers_stay_names(device: Device) -> None:
    text = "  wifis:\n    wlan0:\n      access-points:\n        0123: {password: 12345678}\n        yes: {}\n"
    assert [(p.name, p.wifi and p.wifi.secret) for p in reading(device, text).profiles] == [
        ("0123", "12345678"),
        ("yes", ""),
    ]


def test_nothing_in_quotes_is_a_text(device: Device) -> None:
    device.put("/etc/netplan/00.yaml", "network: {ethernets: {eth0: {macaddress: random, mtu: 1400}}}")
    text = '  ethernets: {eth0: {macaddress: null, mtu: ~}}\n  modems: {m: {apn: "null", password: "~", pin: null}}\n'
    wired, gsm = reading(device, text).profiles
    assert (wired.cloned_mac, wired.mtu) == ("", None)
    assert gsm.modem and (gsm.modem.apn, gsm.modem.password, gsm.modem.pin) == ("null", "~", "")


def test_files_are_merged_by_name(device: Device) -> None:
    device.put("/lib/netplan/50.yaml", "network: {ethernets: {hidden: {dhcp4: true}}}")
    device.put("/etc/netplan/50.yaml", "network: {ethernets: {eth0: {dhcp4: true, addresses: [192.0.2.5/24]}}}")
    device.put("/run/netplan/90.yaml", "network: {ethernets: {eth0: {dhcp4: no, addresses: [192.0.2.6/24]}}}")
    (profile,) = read(device.system).profiles
    assert profile.ipv4 == Ip(method=Method.MANUAL, addresses=("192.0.2.5/24", "192.0.2.6/24"))


def test_a_vlan_is_bound_to_its_parent_by_hardware_address(device: Device) -> None:
    text = """
  ethernets: {main: {match: {macaddress: "00:11:22:33:44:55"}, set-name: lan, dhcp4: true}}
  vlans: {v5: {id: 5, link: main, dhcp4: true}, v6: {id: 6, link: eth9}}
"""
    _, v5, v6 = reading(device, text).profiles
    assert v5.vlan and (v5.vlan.id, v5.vlan.parent, v5.mac) == (5, "", "00:11:22:33:44:55")
    assert v6.vlan and (v6.vlan.parent, v6.mac) == ("eth9", "")


def test_what_networkmanager_has_of_netplan_is_read_there(device: Device) -> None:
    """netplan writes a keyfile for each device that NetworkManager brings up, in /run: one is enough."""
    device.put("/etc/netplan/01.yaml", "network: {modems: {cdc-wdm0: {apn: a}}, bridges: {lan: {dhcp4: true}}}")
    folder = "/run/NetworkManager/system-connections"
    device.put(f"{folder}/netplan-cdc-wdm0.nmconnection", "[connection]\ntype=gsm\n[gsm]\napn=a\n")
    device.put(f"{folder}/netplan-lan.nmconnection", "[connection]\ntype=bridge\ninterface-name=lan\n")
    found = read_networks(device.system)
    assert [(p.kind, p.source.startswith(folder)) for p in found.profiles] == [(Kind.GSM, True), (Kind.OTHER, True)]
    assert found.problems == ()


def test_an_interface_that_netplan_renames_has_its_new_name(device: Device) -> None:
    text = "  ethernets: {a: {match: {name: enp3s0}, set-name: lan, dhcp4: true}}\n"
    assert one(device, text).interface == "lan"


def test_a_vlan_on_a_bridge_of_netplan_says_so(device: Device) -> None:
    found = reading(device, "  vlans: {v5: {id: 5, link: lan}}\n  bridges: {lan: {}}\n")
    assert not found.profiles and "lan" in found.problems[0].reason


def test_modem(device: Device) -> None:
    text = '  modems: {cdc-wdm0: {apn: internet, pin: "0123", username: u, password: p, mtu: 1400}}\n'
    profile = one(device, text)
    assert (profile.kind, profile.modem) == (
        Kind.GSM,
        Modem(apn="internet", pin="0123", username="u", password="p"),
    )


@pytest.mark.processes
def test_a_modem_without_apn_and_login_is_looked_up_also_with_a_number(device: Device, oracle: Oracle) -> None:
    profile = one(device, '  modems: {cdc-wdm0: {number: "*99#", pin: "0123", mtu: 1400}}\n')
    made = oracle.read(write_keyfile(profile, "a").dump())
    assert made["gsm"] == {"auto-config": True, "mtu": 1400, "number": "*99#", "pin": "0123"}
    assert "802-3-ethernet" not in made


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("apn: a b", "an APN"),
        ("network-id: 1234567", "network-id"),
        ("apn: a, sim-operator-id: abcdef", "sim-operator-id"),
    ],
)
def test_a_modem_that_networkmanager_would_refuse_says_why(device: Device, keys: str, words: str) -> None:
    device.put("/etc/netplan/01.yaml", f"network: {{modems: {{cdc-wdm0: {{{keys}}}}}}}")
    found = read_networks(device.system)
    assert not found.profiles and words in found.problems[0].reason


def test_certificates_beside_what_is_handed_through_are_those_of_the_old_system(device: Device) -> None:
    device.put("/etc/ssl/farm.pem", "certificate")
    auth = "{key-management: eap, method: ttls, identity: i, password: p, ca-certificate: //etc/ssl/farm.pem}"
    handed = "networkmanager: {passthrough: {connection.mdns: '2'}}"
    found = reading(device, f"  wifis: {{wlan0: {{access-points: {{a: {{auth: {auth}, {handed}}}}}}}}}\n")
    assert [p.eap and p.eap.ca_cert and p.eap.ca_cert.content for p in found.profiles] == [b"certificate"]
    assert not found.problems


def test_one_bad_access_point_does_not_hide_the_others(device: Device) -> None:
    text = """
  wifis:
    wlan0:
      regulatory-domain: de
      access-points:
        hotspot: {mode: ap}
        tls: {auth: {key-management: eap, method: tls, client-key: /none.pem}}
        sae: {auth: {key-management: sae, password: x}}
"""
    found = reading(device, text)
    assert [(p.name, p.wifi and p.wifi.security) for p in found.profiles] == [("sae", Security.SAE)]
    assert [(p.subject, p.lost) for p in found.problems] == [("hotspot", True), ("tls", True)]
    assert found.country == "DE"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  bridges: {br0: {interfaces: [eth0]}}\n", "a bridge"),
        ("  tunnels: {t: {mode: gre}}\n", "a tunnel"),
        ("  ethernets: {e: {addresses: [nonsense]}}\n", "nonsense"),
        ("  ethernets: {e: {routes: [{to: 1.2.3.4/99, via: 192.0.2.1}]}}\n", "1.2.3.4/99"),
        ("  version: 1\n", "version 1"),
        ("  ethernets: {e: [\n", "line"),
        ("  a: \x01\n", "bytes"),
    ],
)
def test_what_cannot_be_carried_says_why(device: Device, text: str, words: str) -> None:
    found = reading(device, text)
    assert not found.profiles
    assert words in found.problems[0].reason


@pytest.mark.processes
def test_an_inner_method_is_written_also_where_networkmanager_has_the_profile(device: Device, oracle: Oracle) -> None:
    """netplan hands some values through to NetworkManager; such a profile is a keyfile from the start."""
    auth = "{key-management: eap, method: peap, identity: i, password: p}"
    handed = "networkmanager: {uuid: 7d4ae3ec-7a9b-4bd0-b4d0-2d4b7b3d0a11}"
    text = f"network: {{wifis: {{wlan0: {{access-points: {{a: {{auth: {auth}, {handed}}}}}}}}}}}"
    device.put("/etc/netplan/01.yaml", text)
    (profile,) = read_networks(device.system).profiles
    assert oracle.read(write_keyfile(profile, "a").dump())["802-1x"]["phase2-auth"] == "mschapv2"


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    start = time.monotonic()
    with pytest.raises(NetworkConfigError, match="more than"):
        parse_yaml("\n".join(lines))
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("text", ["[" * 100_000, "a: &a [*a]", "{" * 1000 + "}" * 1000, "? [a]\n: b"])
def test_depth_and_loops_are_refused(text: str) -> None:
    with pytest.raises(NetworkConfigError):
        parse_yaml(text)


def test_plain_aliases_work() -> None:
    assert parse_yaml("a: &x {b: c}\nd: *x") == {"a": {"b": "c"}, "d": {"b": "c"}}
