"""Every keyfile that we write means to libnm what the profile means to us."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from balena_migrate.network.model import Ip, Kind, Method, Profile, Route, Security, Wep, Wifi
from balena_migrate.network.writer import write_keyfile
from tests.network.oracle import Connection, Oracle

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
