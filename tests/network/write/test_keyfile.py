# SPDX-License-Identifier: Apache-2.0
"""Every keyfile that we write means to libnm what the profile means to us."""

from __future__ import annotations

from ipaddress import IPv4Address

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from balena_migrate.network.model import (
    Certificate,
    Eap,
    Ip,
    Kind,
    Method,
    Mode,
    Modem,
    Profile,
    Route,
    Security,
    Vlan,
    Wep,
    Wifi,
)
from balena_migrate.network.write.keyfile import write_keyfile
from tests.support.oracle import Connection, Oracle

pytestmark = pytest.mark.processes

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PASSPHRASES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=8, max_size=63)


def meaning(oracle: Oracle, profile: Profile) -> Connection:
    return oracle.read(write_keyfile(profile, "resin-wifi-01").dump())


@MANY
@given(ssid=st.binary(min_size=1, max_size=32), secret=PASSPHRASES)
def test_any_ssid_and_passphrase(oracle: Oracle, ssid: bytes, secret: str) -> None:
    wifi = Wifi(ssid=ssid, security=Security.PSK, secret=secret)
    found = meaning(oracle, Profile(kind=Kind.WIFI, source="", wifi=wifi))
    assert found["802-11-wireless"]["ssid"]["bytes"] == list(ssid)
    assert found["802-11-wireless-security"]["psk"] == secret


@MANY
@given(ssid=st.text(st.sampled_from("09 ;\\\"#=s[]'aé"), min_size=1, max_size=12))
def test_ssids_of_the_signs_that_keyfiles_care_for(oracle: Oracle, ssid: str) -> None:
    found = meaning(oracle, Profile(kind=Kind.WIFI, source="", wifi=Wifi(ssid=ssid.encode())))
    assert bytes(found["802-11-wireless"]["ssid"]["bytes"]) == ssid.encode()


@pytest.mark.parametrize(
    ("wifi", "security"),
    [
        (Wifi(ssid=b"a", security=Security.SAE, secret="x"), {"key-mgmt": "sae", "psk": "x"}),
        (Wifi(ssid=b"a", security=Security.OWE), {"key-mgmt": "owe"}),
        (Wifi(ssid=b"a", security=Security.PSK, secret="ab" * 32), {"key-mgmt": "wpa-psk", "psk": "ab" * 32}),
        (
            Wifi(ssid=b"a", security=Security.WEP, wep=Wep(keys=("abcde", "", "0102030405", ""), index=2, shared=True)),
            {
                "key-mgmt": "none",
                "wep-key0": "abcde",
                "wep-key2": "0102030405",
                "wep-key-type": 1,
                "wep-tx-keyidx": 2,
                "auth-alg": "shared",
            },
        ),
    ],
)
def test_security(oracle: Oracle, wifi: Wifi, security: dict[str, object]) -> None:
    found = meaning(oracle, Profile(kind=Kind.WIFI, source="", wifi=wifi))
    assert found["802-11-wireless-security"] == security


def test_static_addresses(oracle: Oracle) -> None:
    ipv4 = Ip(
        method=Method.MANUAL,
        addresses=("192.0.2.5/32", "198.51.100.7/24"),
        gateway="203.0.113.1",
        dns=("192.0.2.53",),
        search=("example.org",),
        routes=(Route(destination="10.0.0.0/8", gateway="198.51.100.1", metric=50, mtu=1400, on_link=True),),
    )
    ipv6 = Ip(method=Method.MANUAL, addresses=("2001:db8::5/64",), gateway="fe80::1")
    profile = Profile(kind=Kind.ETHERNET, source="", interface="eth0", mtu=1400, ipv4=ipv4, ipv6=ipv6)
    found = meaning(oracle, profile)
    assert found["ipv4"]["address-data"] == [
        {"address": "192.0.2.5", "prefix": 32},
        {"address": "198.51.100.7", "prefix": 24},
    ]
    assert (found["ipv4"]["gateway"], found["ipv6"]["gateway"]) == ("203.0.113.1", "fe80::1")
    assert found["ipv4"]["route-data"] == [
        {"dest": "203.0.113.1", "prefix": 32},
        {"dest": "10.0.0.0", "prefix": 8, "next-hop": "198.51.100.1", "metric": 50, "mtu": 1400, "onlink": True},
    ]
    assert found["ipv4"]["dns-search"] == ["example.org"]
    assert found["802-3-ethernet"]["mtu"] == 1400


def certificate(name: str) -> Certificate:
    return Certificate(path=f"/etc/{name}", content=name.encode())


def test_every_value_of_8021x(oracle: Oracle) -> None:
    eap = Eap(
        methods=("tls", "ttls"),
        identity="me; and = you",
        anonymous_identity=" blank",
        password='p"a\\s#s ',
        ca_cert=certificate("ca"),
        client_cert=certificate("client"),
        private_key=certificate("key"),
        private_key_password="secret",
        phase1=(("phase1-peapver", "0"), ("phase1-peaplabel", "1")),
        inner="mschapv2",
        inner_ca_cert=certificate("ca2"),
        altsubject_matches=("DNS:a;b", "DNS:c"),
        domain_suffix_match="example.org",
    )
    found = meaning(oracle, Profile(kind=Kind.ETHERNET, source="", interface="eth0", eap=eap))["802-1x"]
    folder = "/etc/NetworkManager/system-connections/resin-wifi-01"
    paths = {key: bytes(found.pop(key)["bytes"]).decode() for key in list(found) if isinstance(found[key], dict)}
    assert paths == {
        key: f"file://{folder}-{key}.pem\0" for key in ("ca-cert", "client-cert", "private-key", "phase2-ca-cert")
    }
    assert found == {
        "eap": ["tls", "ttls"],
        "identity": "me; and = you",
        "anonymous-identity": " blank",
        "password": 'p"a\\s#s ',
        "private-key-password": "secret",
        "phase1-peapver": "0",
        "phase1-peaplabel": "1",
        "phase2-auth": "mschapv2",
        "altsubject-matches": ["DNS:a;b", "DNS:c"],
        "domain-suffix-match": "example.org",
    }


@pytest.mark.parametrize("password", ["hash:9db1636cedc5948537e7bee0cc1e9590", "caf\u00e9 \u20ac"])
def test_passwords(oracle: Oracle, password: str) -> None:
    eap = Eap(methods=("peap",), identity="i", inner="mschapv2", password=password)
    found = meaning(oracle, Profile(kind=Kind.ETHERNET, source="", interface="eth0", eap=eap))
    assert found["802-1x"]["password"] == password


def test_a_password_of_any_bytes(oracle: Oracle) -> None:
    eap = Eap(methods=("peap",), identity="i", inner="mschapv2", password_raw=b"\x00\xff;")
    found = meaning(oracle, Profile(kind=Kind.ETHERNET, source="", interface="eth0", eap=eap))
    assert found["802-1x"]["password-raw"]["bytes"] == [0, 255, 59]


def test_a_vlan_by_name_and_by_hardware_address(oracle: Oracle) -> None:
    by_name = Profile(kind=Kind.VLAN, source="", interface="v5", vlan=Vlan(id=5, parent="eth0"))
    found = meaning(oracle, by_name)["vlan"]
    assert (found["id"], found["parent"], found["interface-name"]) == (5, "eth0", "v5")
    by_mac = Profile(kind=Kind.VLAN, source="", interface="v5", mac="00:11:22:33:44:55", vlan=Vlan(id=5, parent=""))
    assert meaning(oracle, by_mac)["802-3-ethernet"]["mac-address"]["bytes"] == [0, 0x11, 0x22, 0x33, 0x44, 0x55]


def test_modems(oracle: Oracle) -> None:
    modem = Modem(apn="internet", number="*99#", username="u;", password=" p", pin="0123", network_id="26201")
    found = meaning(oracle, Profile(kind=Kind.GSM, source="", interface="cdc-wdm0", modem=modem))["gsm"]
    assert found == {
        "apn": "internet",
        "number": "*99#",
        "username": "u;",
        "password": " p",
        "pin": "0123",
        "network-id": "26201",
    }
    automatic = meaning(oracle, Profile(kind=Kind.GSM, source="", modem=Modem(auto_config=True)))
    assert automatic["gsm"] == {"auto-config": True}
    cdma = Profile(kind=Kind.CDMA, source="", modem=Modem(number="#777", username="u"))
    assert meaning(oracle, cdma)["cdma"] == {"number": "#777", "username": "u"}


def test_how_a_profile_connects(oracle: Oracle) -> None:
    wifi = Wifi(ssid=b"a", mode=Mode.ADHOC, hidden=True, bssid="00:11:22:33:44:55", band="bg", channel=7)
    profile = Profile(kind=Kind.WIFI, source="", autoconnect=False, priority=5000, cloned_mac="random", wifi=wifi)
    found = meaning(oracle, profile)
    assert (found["connection"]["autoconnect"], found["connection"]["autoconnect-priority"]) == (False, 999)
    wireless = found["802-11-wireless"]
    assert (wireless["mode"], wireless["hidden"], wireless["band"], wireless["channel"]) == ("adhoc", True, "bg", 7)
    assert wireless["bssid"]["bytes"] == [0, 0x11, 0x22, 0x33, 0x44, 0x55]


ADDRESSES = st.tuples(st.ip_addresses(v=4), st.integers(min_value=1, max_value=32))


@MANY
@given(
    pairs=st.lists(ADDRESSES, min_size=1, max_size=3, unique_by=lambda pair: pair[0]),
    gateway=st.ip_addresses(v=4),
    dns=st.lists(st.ip_addresses(v=4), max_size=3, unique=True),
)
def test_any_addresses(
    oracle: Oracle, pairs: list[tuple[IPv4Address, int]], gateway: IPv4Address, dns: list[IPv4Address]
) -> None:
    ip = Ip(
        method=Method.MANUAL,
        addresses=tuple(f"{address}/{length}" for address, length in pairs),
        gateway=str(gateway),
        dns=tuple(map(str, dns)),
    )
    answer = oracle.ask(write_keyfile(Profile(kind=Kind.ETHERNET, source="", interface="eth0", ipv4=ip), "a").dump())
    found = answer["connection"]["ipv4"]
    assert found["address-data"] == [{"address": str(address), "prefix": length} for address, length in pairs]
    assert found.get("gateway", "0.0.0.0") == str(gateway)
    assert found.get("dns-data", []) == list(map(str, dns))
