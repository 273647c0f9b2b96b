# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate network`."""

from __future__ import annotations

import json

import pytest

from balena_migrate.cli.verbs.network import show_network
from tests.support.network import Device

WPA = """country=GB
network={
 ssid="home"
 psk="very secret"
}
network={
 ssid="ext"
 psk=ext:store
}
"""


def fill(device: Device) -> None:
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", WPA)
    device.put("/etc/netplan/a.yaml", "network: {ethernets: {eth0: {dhcp4: true}, eth1: {addresses: [192.0.2.5/24]}}}")
    device.put("/etc/environment", "https_proxy=http://me:very%20secret@192.0.2.1:3128\n".replace("%20", ""))
    device.put("/etc/balena-migrate.conf", 'MIGRATE_ALL_WIFIS="TRUE"\n')


def test_json(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    fill(device)
    show_network(device.system, None, {}, as_json=True)
    text = capsys.readouterr().out
    data = json.loads(text)
    assert {row["name"]: row["becomes"] for row in data["profiles"]} == {
        "home": "system-connections/resin-wifi-01",
        "eth0": "needs no file: wired, with DHCP",
        "eth1": "system-connections/resin-ethernet-01",
        "192.0.2.1:3128": "system-proxy/redsocks.conf",
    }
    assert data["country"] == "GB"
    assert "network-not-carried" in [finding["code"] for finding in data["findings"]]
    assert "secret" not in text


def test_lines_without_a_terminal(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    fill(device)
    show_network(device.system, None, {"migrate_all_wifis": "FALSE"}, as_json=False)
    text = capsys.readouterr().out
    assert "home\twifi\twpa-psk" in text and "left out" in text
    assert "external store" in text and "secret" not in text


def test_names_cannot_steer_the_terminal(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.put("/etc/wpa_supplicant/wpa_supplicant.conf", "network={\nssid=1b5b324a\nkey_mgmt=NONE\n}\n")
    device.put("/etc/NetworkManager/system-connections/a\x1b[2Jb", "nonsense")
    show_network(device.system, None, {}, as_json=False)
    assert "\x1b" not in capsys.readouterr().out


def test_a_bridges_port_gets_no_addresses(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "/etc/NetworkManager/system-connections"
    device.put(f"{folder}/lan", "[connection]\ntype=bridge\ninterface-name=lan0\n[ipv4]\nmethod=auto\n")
    device.put(f"{folder}/p", "[connection]\ntype=ethernet\ninterface-name=enp7s0\nmaster=lan0\nslave-type=bridge\n")
    show_network(device.system, None, {}, as_json=False)
    text = capsys.readouterr().out
    assert "enp7s0\tethernet\t\tnone: a port\t" in text and "lan0\tother\t\tauto" in text
