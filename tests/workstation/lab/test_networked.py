# SPDX-License-Identifier: Apache-2.0
"""What the network rehearsal expects is told from what only looks like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from balena_migrate.workstation.lab.lookalike import Report
from balena_migrate.workstation.lab.networked import (
    FILES,
    PROFILES,
    PROXY_SETTINGS,
    VOLUMES,
    profiles_check,
    proxy_check,
)
from balena_migrate.workstation.lab.proofs import volume_files
from balena_migrate.workstation.lab.scenarios.table import find_scenario

REPORT = Report(
    kernel="6.1.0",
    command_line="",
    memory_bytes=1,
    uptime_s=1,
    disk_bytes=1,
    data_bytes_before=1,
    partition_table="dos",
    partitions=(),
    config_json=b"{}",
    boot_files=(),
    root_files=(),
    state_files=(),
    data_files=(),
)


def _loaded() -> list[Mapping[str, str]]:
    """Profiles as nmcli would show them, if all went well: a property without a value is not among them."""
    return [
        {"connection.id": f"resin-{number}"} | {k: v for k, v in p.properties.items() if v}
        for number, p in enumerate(PROFILES)
    ]


def test_all_profiles_with_their_meaning_pass() -> None:
    assert profiles_check(PROFILES, replace(REPORT, profiles=tuple(_loaded()))).passed


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, {"802-11-wireless-security.psk": "another one"}),
        (1, {"802-11-wireless-security.key-mgmt": "wpa-psk"}),
        (2, {"ipv4.method": "disabled"}),
        (3, {"ipv4.dns": "192.0.2.1"}),
        (4, {"ipv4.routes": "203.0.113.0/24 10.0.2.9"}),
        (4, {"ipv6.gateway": "fe80::2"}),
        (4, {"ipv6.method": "manual"}),
        (5, {"802-3-ethernet.mac-address": "52:54:00:12:34:56"}),
        (5, {"match.interface-name": "enp0s9"}),
        (6, {"bond.options": "mode=balance-rr"}),
        (7, {"connection.master": "trunk1"}),
        (7, {"ipv4.method": "auto"}),
        (8, {"gsm.apn": "internet"}),
        (8, {"gsm.pin": "42"}),
    ],
)
def test_a_profile_of_another_meaning_is_named_without_its_secret(place: int, change: dict[str, str]) -> None:
    loaded = _loaded()
    loaded[place] = {**loaded[place], **change}
    check = profiles_check(PROFILES, replace(REPORT, profiles=tuple(loaded)))
    assert not check.passed
    assert check.found == (f"9 profiles; missing or different: {PROFILES[place].name}; unexpected: resin-{place}")
    assert not any(secret in str(check) for secret in ("crates", "weigh", "another one"))


def test_a_profile_too_few_or_twice_fails() -> None:
    loaded = _loaded()
    assert not profiles_check(PROFILES, replace(REPORT, profiles=tuple(loaded[1:]))).passed
    assert not profiles_check(PROFILES, replace(REPORT, profiles=(*loaded, loaded[0]))).passed
    assert not profiles_check(PROFILES, REPORT).passed


def test_the_proxy_is_that_of_the_device_with_the_new_systems_port() -> None:
    text = FILES["etc/redsocks.conf"].encode()
    assert not proxy_check(PROXY_SETTINGS, text).passed, "the old system's own port is not the one to send traffic to"
    assert not proxy_check(PROXY_SETTINGS, b"").passed
    check = proxy_check(PROXY_SETTINGS, text.replace(b"31338", b"12345").replace(b"side!", b"back!"))
    assert check.found == "wrong or missing: password"


def test_volumes_are_expected_as_folders_at_the_archives_top() -> None:
    scenario = find_scenario("pc-network")
    names = volume_files(scenario.wishes, scenario.expect)
    assert set(VOLUMES.values()) == {"./data", "./weights"}
    assert set(names) == {
        *("./data/readings.csv", "./data/Fotos/Halle 3 - Südtor.jpg", "./data/empty", "./weights/2026.db"),
    }
    assert volume_files(scenario.wishes, find_scenario("pc-bios").expect) == {}
