# SPDX-License-Identifier: Apache-2.0
"""What goes to the new system, and under which names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.network.files.keyfile import parse_keyfile
from balena_migrate.network.model import Certificate, Eap, Ip, Kind, Method, NetworkSettings, Profile, Security, Wifi
from balena_migrate.network.select import Selection, boot_files, fitting_priorities, select_profiles
from balena_migrate.network.sources.networkmanager import SKIPPED
from balena_migrate.settings import Config
from tests.support.network import Device


def wifi(ssid: bytes, interface: str = "") -> Profile:
    return Profile(kind=Kind.WIFI, source="/s", interface=interface, wifi=Wifi(ssid=ssid))


def static(interface: str) -> Profile:
    ip = Ip(method=Method.MANUAL, addresses=("192.0.2.5/24",))
    return Profile(kind=Kind.ETHERNET, source="/s", interface=interface, ipv4=ip)


SETTINGS = NetworkSettings(profiles=(wifi(b"one"), wifi(b" two "), static("eth0")))


def chosen(device: Device, config: Config, settings: NetworkSettings = SETTINGS) -> list[str]:
    return [file.path for file in boot_files(config, select_profiles(config, settings, device.system), NetworkFacts())]


def test_no_wifi_without_a_setting(device: Device) -> None:
    assert chosen(device, Config()) == ["system-connections/resin-ethernet-01"]
    assert [p.name for p in select_profiles(Config(), SETTINGS, device.system).left_out] == ["one", " two "]


def test_all_wifis_and_numbers_from_two(device: Device) -> None:
    config = Config(migrate_all_wifis=True, has_wifi_cfg=True)
    assert chosen(device, config)[:2] == ["system-connections/resin-wifi-02", "system-connections/resin-wifi-03"]


def test_the_list_chooses_and_unknown_names_are_told(device: Device) -> None:
    device.put("/home/wifis", " two \r\n\nthree\n")
    config = Config(home_dir="/home", migrate_wifi_cfg="wifis", migrate_all_wifis=True)
    selection = select_profiles(config, SETTINGS, device.system)
    assert [p.name for p in selection.profiles] == [" two ", "eth0"]
    assert selection.unknown == ("three",)


def test_a_list_that_is_missing_is_an_error(device: Device) -> None:
    with pytest.raises(FileError, match="MIGRATE_WIFI_CFG"):
        select_profiles(Config(home_dir="/home", migrate_wifi_cfg="none"), SETTINGS, device.system)


def test_plain_wired_dhcp_needs_no_file(device: Device) -> None:
    plain = Profile(kind=Kind.ETHERNET, source="/s", interface="eth0", ipv4=Ip(), ipv6=Ip(method=Method.IGNORE))
    settings = NetworkSettings(profiles=(plain,))
    assert select_profiles(Config(), settings, device.system).automatic == (plain,)
    assert chosen(device, Config(), settings) == []


def test_names_pass_networkmanager_and_fat(device: Device) -> None:
    eap = Eap(methods=("tls",), identity="i", private_key=Certificate(path="/k", content=b"key"))
    many = tuple(wifi(bytes([n + 1])) for n in range(120))
    secure = Profile(kind=Kind.WIFI, source="/s", wifi=Wifi(ssid=b"tls", security=Security.EAP), eap=eap)
    paths = chosen(device, Config(migrate_all_wifis=True), NetworkSettings(profiles=(*many, secure)))
    names = [PurePosixPath(path).name for path in paths]
    assert len({name.lower() for name in names}) == 122
    assert all(re.fullmatch(r"[a-z0-9-]+(\.pem)?", name) for name in names)
    assert [name for name in names if SKIPPED.fullmatch(name)] == ["resin-wifi-121-client-cert.pem"]


def test_priorities_keep_their_order() -> None:
    assert fitting_priorities([5, 0, -3]) == {5: 5, 0: 0, -3: -3}
    assert fitting_priorities([5000, 10, -4000, -2, 10]) == {0: 0, 10: 1, 5000: 2, -2: -1, -4000: -2}


def test_a_certificate_travels_beside_its_keyfile(device: Device) -> None:
    eap = Eap(methods=("tls",), identity="i", private_key=Certificate(path="/k", content=b"key"))
    profile = Profile(kind=Kind.ETHERNET, source="/s", interface="eth0", eap=eap)
    selection = select_profiles(Config(), NetworkSettings(profiles=(profile,)), device.system)
    keyfile, certificate = boot_files(Config(), selection, NetworkFacts())
    assert certificate.content == b"key"
    path = parse_keyfile(keyfile.content.decode()).text("802-1x", "private-key")
    assert path == f"/etc/NetworkManager/{certificate.path}"


def test_what_was_one_file_stays_one(device: Device) -> None:
    """A PKCS#12 file holds the certificate and the key; NetworkManager wants one path for both."""
    eap = Eap(methods=("tls",), identity="i", private_key=Certificate(path="/k.p12", content=b"\x30\x82"))
    profile = Profile(kind=Kind.ETHERNET, source="/s", interface="eth0", eap=eap)
    keyfile, _ = boot_files(Config(), Selection(profiles=(profile,)), NetworkFacts())
    parsed = parse_keyfile(keyfile.content.decode())
    assert parsed.text("802-1x", "private-key") == parsed.text("802-1x", "client-cert") != ""


def interface(name: str, kind: InterfaceKind, mac: str, permanent: bool = True) -> Interface:
    return Interface(name=name, kind=kind, mac=mac, mac_permanent=permanent)


@pytest.mark.parametrize(
    ("devices", "name", "mac"),
    [
        ((interface("eth0", InterfaceKind.ETHERNET, "00:11:22:33:44:55"),), "", "00:11:22:33:44:55"),
        ((interface("eth0", InterfaceKind.ETHERNET, "0a:11:22:33:44:55", False),), "", ""),
        ((), "eth0", ""),
    ],
)
def test_wired_profiles_are_bound_by_hardware_address(
    device: Device, devices: tuple[Interface, ...], name: str, mac: str
) -> None:
    selection = select_profiles(Config(), NetworkSettings(profiles=(static("eth0"),)), device.system)
    (file,) = boot_files(Config(), selection, NetworkFacts(interfaces=devices))
    keyfile = parse_keyfile(file.content.decode())
    assert keyfile.text("connection", "interface-name") == name
    assert keyfile.text("ethernet", "mac-address") == mac


def test_wifi_is_bound_only_where_there_are_two_devices(device: Device) -> None:
    config = Config(migrate_all_wifis=True)
    selection = select_profiles(config, NetworkSettings(profiles=(wifi(b"a", "wlan0"),)), device.system)
    first = interface("wlan0", InterfaceKind.WIFI, "00:11:22:33:44:55")
    second = interface("wlan1", InterfaceKind.WIFI, "00:11:22:33:44:66")
    (alone,) = boot_files(config, selection, NetworkFacts(interfaces=(first,)))
    (bound,) = boot_files(config, selection, NetworkFacts(interfaces=(first, second)))
    assert b"mac-address" not in alone.content and b"interface-name" not in alone.content
    assert b"mac-address=00:11:22:33:44:55" in bound.content
