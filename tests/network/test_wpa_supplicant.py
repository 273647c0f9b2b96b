# SPDX-License-Identifier: Apache-2.0
"""wpa_supplicant.conf, read by hostap's own rules."""

from __future__ import annotations

import pytest

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.network.files.wpa import parse_string, parse_wpa_supplicant
from balena_migrate.network.model import Kind, Mode, Pmf, Profile, Reading, Security, Wifi
from balena_migrate.network.sources.wpa_supplicant import read
from balena_migrate.network.write.keyfile import write_keyfile
from tests.support.network import Device, read_networks
from tests.support.oracle import Oracle

KEY = "0123456789abcdef" * 4


def networks(device: Device, *blocks: str, name: str = "wpa_supplicant.conf", head: str = "") -> Reading:
    text = head + "".join(f"network={{\n{block}\n}}\n" for block in blocks)
    device.put(f"/etc/wpa_supplicant/{name}", text)
    return read(device.system)


def one(device: Device, block: str, name: str = "wpa_supplicant.conf") -> Profile:
    reading = networks(device, block, name=name)
    assert not reading.problems
    (profile,) = reading.profiles
    return profile


def wifi(device: Device, block: str) -> Wifi:
    profile = one(device, block)
    assert profile.wifi
    return profile.wifi


def refusal(device: Device, block: str) -> str:
    reading = networks(device, block)
    assert not reading.profiles
    (problem,) = reading.problems
    assert problem.lost
    return problem.reason


def test_passphrase(device: Device) -> None:
    found = wifi(device, '  ssid="Net"\n\tpsk="pass phrase # 1"  # a comment')
    assert found == Wifi(ssid=b"Net", security=Security.PSK, secret="pass phrase # 1")


def test_comment_line_with_the_plain_passphrase_is_ignored(device: Device) -> None:
    assert wifi(device, f'ssid="a"\n#psk="plaintext"\npsk={KEY}').secret == KEY


def test_inner_quotes_and_backslashes_are_literal(device: Device) -> None:
    found = wifi(device, 'ssid="a"b\\n"\npsk="x"y\\"zzz"')
    assert (found.ssid, found.secret) == (b'a"b\\n', 'x"y\\"zzz')


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ('"a b"', b"a b"),
        ('""', b""),
        ("00ff41", b"\x00\xffA"),
        (r'P"\x41\102\n\\\"\e"', b'AB\n\\"\x1b'),
        ('P"\\xc3\\xa9"', b"\xc3\xa9"),
        (r'P"a\xzz \x"', b"azz "),
        (r'P"caf\q \é\8"', "cafq é8".encode()),
    ],
)
def test_string_forms(value: str, data: bytes) -> None:
    assert parse_string(value) == data


@pytest.mark.parametrize("value", ['"open', "xyz", "123", '"', 'P"'])
def test_bad_strings_are_errors(value: str) -> None:
    with pytest.raises(NetworkConfigError):
        parse_string(value)


@pytest.mark.parametrize(
    ("block", "security"),
    [
        ("key_mgmt=NONE", Security.OPEN),
        ('key_mgmt=NONE\nwep_key0="abcde"', Security.WEP),
        ('psk="passphrase"', Security.PSK),
        ('key_mgmt=WPA-PSK SAE\npsk="passphrase"', Security.PSK),
        ('key_mgmt=SAE\npsk="passphrase"', Security.SAE),
        ('key_mgmt=SAE\nsae_password="x"', Security.SAE),
        ("key_mgmt=OWE", Security.OWE),
        ('key_mgmt=WPA-EAP\neap=PEAP\nidentity="i"\npassword="p"', Security.EAP),
        ('key_mgmt=IEEE8021X\neap=PEAP\nidentity="i"\npassword="p"', Security.DYNAMIC_WEP),
    ],
)
def test_security(device: Device, block: str, security: Security) -> None:
    assert wifi(device, f'ssid="a"\n{block}').security is security


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ('ssid="a"\nmode=2\npsk="passphrase"', "access point"),
        ('ssid="a"\ndisabled=2\npsk="passphrase"', "P2P"),
        ('ssid="a"\npsk=ext:home', "external store"),
        ('ssid="a"\nkey_mgmt=SAE\nsae_password=ext:home', "external store"),
        ('ssid="a"\npsk=short', "64 hexadecimal digits"),
        ('ssid="a"\npsk="open', "not closed"),
        ('ssid="a"', "neither psk nor a login"),
        ("key_mgmt=NONE", "no SSID"),
        (f'ssid="a"\nkey_mgmt=SAE\npsk={KEY}', "passphrase"),
        ('ssid="a"\nkey_mgmt=DPP', "not known"),
        ('ssid="a"\nkey_mgmt=WPA-EAP\neap=TLS\nclient_cert="/none.pem"', "/none.pem"),
        ('ssid="a"\nkey_mgmt=WPA-EAP\neap=TLS\nclient_cert="pkcs11:id=1"', "hardware token"),
    ],
)
def test_what_cannot_be_carried_says_why(device: Device, block: str, words: str) -> None:
    assert words in refusal(device, block)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('phase2="auth=SIM"', "inner method sim"),
        ('phase2="autheap=PEAP"', "inner method peap"),
        ('ca_path="/etc/certificates"', "/etc/certificates"),
    ],
)
def test_8021x_that_networkmanager_would_not_load_says_why(device: Device, line: str, words: str) -> None:
    block = f'ssid="a"\nkey_mgmt=WPA-EAP\neap=TTLS\nidentity="i"\npassword="p"\n{line}'
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", f"network={{\n{block}\n}}\n")
    found = read_networks(device.system)
    assert not found.profiles and words in found.problems[0].reason


@pytest.mark.processes
@pytest.mark.parametrize(
    ("lines", "words", "values"),
    [
        ("eap=PEAP MSCHAPV2", "mschapv2", {"eap": ["peap"]}),
        ("eap=TLS PEAP", "cannot use tls", {"eap": ["peap"]}),
        ("eap=PEAP TLS TTLS", "cannot use tls", {"eap": ["peap", "ttls"]}),
        ("", "peap, ttls is assumed", {"eap": ["peap", "ttls"], "phase2-auth": "mschapv2"}),
        ('eap=PEAP\nca_path="/etc/ssl/certs"', "inner method", {"ca-path": "/etc/ssl/certs"}),
        ('eap=PEAP\nphase1="peapver=3 peaplabel=1"', "peapver=3", {"phase1-peaplabel": "1"}),
        ('eap=FAST\nphase1="fast_provisioning=9"', "fast_provisioning=9", {"eap": ["fast"]}),
        ('eap=TTLS\nphase2="auth=PAP auth=CHAP"', "auth=CHAP", {"phase2-auth": "pap"}),
        (
            'eap=TTLS\nphase2="autheap=MSCHAPV2 tls_disable_tlsv1_3=1"',
            "tlsv1_3",
            {"phase2-autheap": "mschapv2"},
        ),
    ],
)
def test_of_8021x_what_networkmanager_knows_is_carried_and_the_rest_told(
    device: Device, oracle: Oracle, lines: str, words: str, values: dict[str, object]
) -> None:
    block = f'ssid="a"\nkey_mgmt=WPA-EAP\nidentity="i"\npassword="p"\n{lines}'
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", f"network={{\n{block}\n}}\n")
    found = read_networks(device.system)
    eap = oracle.read(write_keyfile(found.profiles[0], "a").dump())["802-1x"]
    assert {key: eap.get(key) for key in values} == values
    assert any(words in problem.reason and not problem.lost for problem in found.problems)


def test_of_two_ways_to_join_the_other_is_told(device: Device) -> None:
    reading = networks(
        device,
        'ssid="a"\npsk="passphrase"\neap=PEAP\nidentity="i"\npassword="p"',
        'ssid="b"\nkey_mgmt=WPA-PSK SAE\npsk="passphrase"\nsae_password="other"',
    )
    assert [p.wifi and p.wifi.secret for p in reading.profiles] == ["passphrase", "passphrase"]
    assert [(p.subject, p.reason.split()[0]) for p in reading.problems] == [("a", "802.1X"), ("b", "sae_password")]


def test_a_line_that_is_no_setting_is_told_without_its_content(device: Device) -> None:
    reading = networks(device, 'ssid="a"\npsk="passphrase"\npsk "my=secret"')
    assert len(reading.problems) == 1 and "my" not in reading.problems[0].reason


def test_an_ad_hoc_network_keeps_its_channel(device: Device) -> None:
    for frequency, band, channel in ((2437, "bg", 6), (2484, "bg", 14), (5180, "a", 36), (60480, "", 0)):
        found = wifi(device, f'ssid="a"\nmode=1\nfrequency={frequency}\nkey_mgmt=NONE')
        assert (found.band, found.channel) == (band, channel)


def test_one_bad_network_does_not_hide_the_others(device: Device) -> None:
    reading = networks(device, 'ssid="a"\npsk="open', 'ssid="b"\nkey_mgmt=NONE')
    assert [profile.name for profile in reading.profiles] == ["b"]
    assert "line 1" in reading.problems[0].subject


def test_interface_from_the_file_name(device: Device) -> None:
    assert one(device, 'ssid="a"\nkey_mgmt=NONE', "wpa_supplicant-wlan1.conf").interface == "wlan1"


def test_wired_8021x(device: Device) -> None:
    block = 'key_mgmt=IEEE8021X\neap=PEAP\nidentity="i"\npassword="p"\nphase2="auth=MSCHAPV2"'
    profile = one(device, block, "wpa_supplicant-wired-eth0.conf")
    assert (profile.kind, profile.interface, profile.wifi) == (Kind.ETHERNET, "eth0", None)
    assert profile.eap and profile.eap.inner == "mschapv2"


def test_options(device: Device) -> None:
    block = 'ssid="a"\npsk="passphrase"\nscan_ssid=1\npriority=7\ndisabled=1\nbssid=00:11:22:33:44:55\nieee80211w=2'
    profile = one(device, block)
    assert (profile.priority, profile.autoconnect) == (7, False)
    assert profile.wifi and (profile.wifi.hidden, profile.wifi.bssid, profile.wifi.pmf) == (
        True,
        "00:11:22:33:44:55",
        Pmf.REQUIRED,
    )


def test_ad_hoc(device: Device) -> None:
    assert wifi(device, 'ssid="a"\nmode=1\nkey_mgmt=NONE').mode is Mode.ADHOC


def test_country_and_blobs(device: Device) -> None:
    blob = "blob-base64-ca={\nSGVs\nbG8=\n}\n"
    block = 'ssid="a"\nkey_mgmt=WPA-EAP\neap=TTLS\nidentity="i"\npassword="p"\nca_cert="blob://ca"'
    reading = networks(device, block, head=f"country=de\n{blob}")
    eap = reading.profiles[0].eap
    assert reading.country == "DE"
    assert eap and eap.ca_cert and eap.ca_cert.content == b"Hello"


def test_unknown_keys_are_named(device: Device) -> None:
    reading = networks(device, 'ssid="a"\npsk="passphrase"\nwps_magic=1')
    assert [(p.reason, p.lost) for p in reading.problems] == [("wps_magic is not carried over", False)]


def test_block_that_is_not_closed_is_a_fault() -> None:
    assert parse_wpa_supplicant('network={\nssid="a"\n').faults == ((1, "the network block is not closed"),)


def test_secrets_stay_out_of_repr(device: Device) -> None:
    reading = networks(device, 'ssid="a"\npsk="passphrase"', 'ssid="b"\nkey_mgmt=NONE\nwep_key0="abcde"')
    assert "passphrase" not in repr(reading) and "abcde" not in repr(reading)


def test_a_blob_that_is_no_base64_is_a_problem(device: Device) -> None:
    block = 'network={\nssid="a"\nkey_mgmt=WPA-EAP\neap=PEAP\nidentity="i"\npassword="p"\nca_cert="blob://farm"\n}\n'
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", block + "blob-base64-farm={\né\n}\n")
    found = read_networks(device.system)
    assert not found.profiles and "blob://farm" in found.problems[0].reason
