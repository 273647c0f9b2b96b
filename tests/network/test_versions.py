# SPDX-License-Identifier: Apache-2.0
"""What is carried is judged for the image's own NetworkManager and Wi-Fi, by the image's version of balenaOS."""

from __future__ import annotations

import pytest

from balena_migrate.facts.network import NetworkFacts, read_network_facts
from balena_migrate.network.model import Method, NetworkSettings
from balena_migrate.network.read import read_network
from balena_migrate.network.select import Selection, boot_files
from balena_migrate.network.versions import networkmanager_version
from balena_migrate.settings import Config
from tests.support.network import Device

FOLDER = "/etc/NetworkManager/system-connections"
WIFI = "[connection]\nid=a\ntype=wifi\n[wifi]\nssid=Barn\n[wifi-security]\nkey-mgmt={}\npsk=passphrase\n"


def judged(device: Device, keyfile: str, os_version: str | None) -> NetworkSettings:
    device.put(f"{FOLDER}/a.nmconnection", keyfile)
    return read_network(device.system, read_network_facts(device.system), os_version)


@pytest.mark.parametrize(
    ("os_version", "manager"),
    [
        ("1.30.1", 4),
        ("2.0.0", 4),
        ("2.15.1+rev2", 12),
        ("2.28.0", 12),
        ("2.29.0", 14),
        ("2.107.9", 32),
        ("2.108.0", 40),
        ("5.2.0", 46),
        ("6.9.9", 46),
        ("6.10.0", 52),
        ("99.0.0", 52),
        ("2023.10.0", 20),
        ("", 4),
        ("nonsense", 4),
    ],
)
def test_the_networkmanager_of_an_image(os_version: str, manager: int) -> None:
    """Between known versions it is the older, and the oldest that there can be where the version says nothing."""
    assert networkmanager_version(os_version) == manager


@pytest.mark.parametrize(
    ("management", "os_version", "words"),
    [
        ("sae", "6.5.49", "since 6.5.50, and the image is 6.5.49"),
        ("sae", "2023.10.0", "the image is 2023.10.0, which may be as old as 2.43.0"),
        ("sae", "", "the version of the image is not known"),
        ("sae", "6.5.50", ""),
        ("owe", "7.0.5", "since 7.0.6"),
        ("owe", "7.0.6", ""),
        ("wpa-eap-suite-b-192", "2.83.0", "needs NetworkManager 1.30, and the image is 2.83.0"),
        ("wpa-eap-suite-b-192", "2.88.10", ""),
        ("wpa-psk", "", ""),
        ("sae", None, ""),
    ],
)
def test_a_network_that_the_image_cannot_join_is_not_carried(
    device: Device, management: str, os_version: str | None, words: str
) -> None:
    login = "[802-1x]\neap=pwd;\nidentity=i\npassword=p\n" if "eap" in management else ""
    found = judged(device, WIFI.format(management) + login, os_version)
    assert [p.name for p in found.profiles] == ([] if words else ["Barn"])
    assert [(p.lost, words in p.reason) for p in found.problems] == ([(True, True)] if words else [])


def test_what_wpa_supplicant_names_is_judged_the_same(device: Device) -> None:
    text = 'network={\nssid="Barn"\nkey_mgmt=SAE\nsae_password="passphrase"\n}\n'
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", text)
    found = read_network(device.system, NetworkFacts(), "6.0.0")
    assert not found.profiles and "SAE" in found.problems[0].reason


def test_a_type_that_the_networkmanager_of_the_image_does_not_know(device: Device) -> None:
    text = "[connection]\nid=a\ntype=wireguard\ninterface-name=wg0\n[wireguard]\nprivate-key=k\n"
    found = judged(device, text, "2.29.0")
    assert not found.profiles and "connection.type=wireguard needs NetworkManager 1.16" in found.problems[0].reason
    assert judged(device, text, "2.37.0").profiles


def test_an_empty_apn_lets_the_network_choose_only_since_1_22(device: Device) -> None:
    text = "[connection]\nid=a\ntype=gsm\n[gsm]\napn=\n"
    assert judged(device, text, "2.68.0").profiles
    found = judged(device, text, "2.43.0")
    assert not found.profiles and "an empty gsm.apn" in found.problems[0].reason


def test_a_key_that_the_networkmanager_of_the_image_ignores_is_told(device: Device) -> None:
    text = "[connection]\nid=a\ntype=ethernet\nmulti-connect=3\nmud-url=https://x.example/a\n"
    found = judged(device, text, "2.68.0")
    assert found.profiles and not found.problems
    found = judged(device, text, "2.43.0")
    assert found.profiles
    assert [(p.lost, p.reason.split(",")[0]) for p in found.problems] == [
        (False, "connection.mud-url needs NetworkManager 1.26")
    ]


@pytest.mark.parametrize(("os_version", "method"), [("2.37.0", "ignore"), ("2.43.0", "disabled")])
def test_ipv6_that_is_switched_off_does_not_cost_the_profile_on_an_old_image(
    device: Device, os_version: str, method: str
) -> None:
    """Before 1.20 NetworkManager takes no profile with ipv6.method=disabled."""
    text = "[connection]\nid=a\ntype=ethernet\n[ipv4]\nmethod=manual\naddress1=192.0.2.7/24\n[ipv6]\nmethod=disabled\n"
    found = judged(device, text, os_version)
    (profile,) = found.profiles
    assert profile.ipv6 and profile.ipv6.method is Method(method)
    (file,) = boot_files(Config(), Selection(profiles=found.profiles), NetworkFacts())
    assert f"[ipv6]\nmethod={method}\n" in file.content.decode()
    assert [p.lost for p in found.problems] == ([False] if method == "ignore" else [])


ETHERNET = "[connection]\nid=a\ntype=ethernet\n"


@pytest.mark.parametrize(
    ("word", "os_version", "carried"),
    [
        ("default", "2.107.9", "stable-privacy"),
        ("default-or-eui64", "2.107.9", "eui64"),
        ("default", "2.108.0", "default"),
        ("eui64", "2.107.9", "eui64"),
    ],
)
def test_a_newer_word_for_the_form_of_addresses(device: Device, word: str, os_version: str, carried: str) -> None:
    """An older one warns of it and takes stable-privacy, whatever the word meant."""
    settings = judged(device, f"{ETHERNET}[ipv6]\nmethod=auto\naddr-gen-mode={word}\n", os_version)
    (profile,) = settings.profiles
    assert profile.keyfile and profile.keyfile.text("ipv6", "addr-gen-mode") == carried
    assert settings.problems == ()


@pytest.mark.parametrize(
    ("word", "os_version", "known"),
    [("mac", "2.12.0", False), ("mac", "2.13.3", True), ("none", "2.108.0", False), ("none", "5.2.0", True)],
)
def test_a_newer_word_for_a_client_id_would_be_sent_as_it_is(
    device: Device, word: str, os_version: str, *, known: bool
) -> None:
    settings = judged(device, f"{ETHERNET}[ipv4]\nmethod=auto\ndhcp-client-id={word}\n", os_version)
    (profile,) = settings.profiles
    assert profile.keyfile and profile.keyfile.text("ipv4", "dhcp-client-id") == (word if known else "")
    told = [problem.reason for problem in settings.problems]
    assert bool(told) is not known and all(f"dhcp-client-id={word} needs NetworkManager" in reason for reason in told)
