# SPDX-License-Identifier: Apache-2.0
"""A Wi-Fi network on a channel that is not allowed everywhere needs a country in the new system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.carried.config_json import ConfigJson
from balena_migrate.checks import network
from balena_migrate.checks.network import check_network
from balena_migrate.facts.network import DefaultRoute, Interface, InterfaceAddress, InterfaceKind, NetworkFacts
from balena_migrate.findings import Finding, Severity
from balena_migrate.network.model import Kind, NetworkSettings, Profile, Wifi
from balena_migrate.network.read import read_network
from balena_migrate.network.select import Selection
from balena_migrate.settings import Config, Keep
from tests.support.facts import pc_facts
from tests.support.network import Device
from tests.support.surveys import carrying

BARN = Profile(kind=Kind.WIFI, source="/barn", wifi=Wifi(ssid=b"Barn"))
WITH_COUNTRY = Config(keep=(Keep.COUNTRY,))


def now(mhz: int) -> NetworkFacts:
    return NetworkFacts(
        interfaces=(Interface(name="wlan2", kind=InterfaceKind.WIFI, ssid=b"Barn", frequency_mhz=mhz),),
        addresses=(InterfaceAddress(interface="wlan2", address="172.25.3.9/24", dynamic=True),),
        default_routes=(DefaultRoute(interface="wlan2", gateway="172.25.3.1"),),
    )


def check(mhz: int, *, known: str = "", config: Config | None = None) -> dict[str, Finding]:
    settings = NetworkSettings(profiles=(BARN,), country=known)
    selection = Selection(profiles=(BARN,))
    findings = check_network(config or Config(), now(mhz), settings, selection)
    return {finding.code: finding for finding in findings}


@pytest.mark.parametrize("mhz", [2467, 2472, 2484, 5260, 5500, 5720, 5955])
def test_such_a_channel_without_a_country_is_told(mhz: int) -> None:
    found = check(mhz)
    assert found["wifi-country"].severity is Severity.WARNING and str(mhz) in found["wifi-country"].cause
    assert "config.json" in found["wifi-country"].remedy and "network-online" in found


@pytest.mark.parametrize("mhz", [0, 2412, 2462, 5180, 5240, 5745, 5825])
def test_a_channel_of_the_whole_world_needs_none(mhz: int) -> None:
    assert list(check(mhz)) == ["network-online"]


def test_a_country_that_is_known_has_to_go_along() -> None:
    assert 'KEEP="country"' in check(2472, known="NO")["wifi-country"].remedy
    assert "NO" in check(2472, known="NO")["wifi-country"].remedy
    assert list(check(2472, known="NO", config=WITH_COUNTRY)) == ["network-online"]
    assert "wifi-country" in check(2472, config=WITH_COUNTRY)


def test_a_country_in_config_json_is_enough() -> None:
    facts = replace(pc_facts(), network=now(2472))
    for values in ({}, {"country": "NO"}):
        config_json = ConfigJson(origin="/barn.json", values=values)
        survey = carrying(facts, selection=Selection(profiles=(BARN,)), config_json=config_json)
        assert ("wifi-country" in {finding.code for finding in network.check(survey)}) is not bool(values)


def test_the_channel_counts_only_where_wifi_leads_out() -> None:
    wired = Interface(name="eth9", kind=InterfaceKind.ETHERNET)
    there = now(2472)
    ways = (DefaultRoute(interface="eth9", gateway="172.25.3.1"),)
    both = replace(there, interfaces=(*there.interfaces, wired), default_routes=ways)
    assert all(
        finding.code != "wifi-country" for finding in check_network(Config(), both, NetworkSettings(), Selection())
    )


def test_what_is_not_known_of_the_channel_is_said() -> None:
    assert "the Wi-Fi channel" in check(0)["network-online"].cause
    assert "the Wi-Fi channel" not in check(2412)["network-online"].cause


def test_the_country_in_force_counts_where_nothing_names_another(tmp_path: Path) -> None:
    device = Device(tmp_path)
    there = replace(now(2472), country="NO")
    assert read_network(device.system, there).country == "NO"
    device.put("/etc/default/crda", "REGDOMAIN=SE\n")
    assert read_network(device.system, there).country == "SE"
