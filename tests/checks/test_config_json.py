# SPDX-License-Identifier: Apache-2.0
"""The findings about a config.json."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from balena_migrate.carried.config_json import parse_config_json
from balena_migrate.checks.config_json import check_config_json
from balena_migrate.findings import Finding, Severity
from balena_migrate.settings import Config
from tests.support.corpus import corpus

FLEET = {
    "apiEndpoint": "https://api.example.com",
    "apiKey": "SECRETVALUE",
    "applicationId": 123,
    "deviceType": "raspberrypi3",
    "vpnEndpoint": "cloudlink.example.com",
    "vpnPort": 443,
    "listenPort": "48484",
}
REGISTERED = {
    **{key: value for key, value in FLEET.items() if key != "apiKey"},
    "deviceApiKey": "SECRETVALUE",
    "uuid": "0123456789abcdef0123456789abcdef",
    "deviceId": "77",
    "registered_at": 1660904681747,
}


def findings(values: dict[str, Any], image_type: str = "raspberrypi3", **more: Any) -> list[Finding]:
    config_json = parse_config_json(json.dumps(values).encode(), "config.json")
    config = Config(change_device_type=more.pop("change", False))
    found = list(check_config_json(config_json, config, image_type=image_type, **more))
    assert "SECRETVALUE" not in repr(found)
    return found


def codes(found: list[Finding], severity: Severity) -> list[str]:
    return [finding.code for finding in found if finding.severity is severity]


@pytest.mark.parametrize(
    "values",
    [
        FLEET,
        REGISTERED,
        {**FLEET, "applicationId": "123", "developmentMode": "true", "deltaEndpoint": "", "country": None},
        {**FLEET, "balenaRootCA": base64.encodebytes(b"-----BEGIN CERTIFICATE-----\n" * 9).decode()},
        {**FLEET, "os": {"network": {"connectivity": {"interval": "300"}, "wifi": {"randomMacAddressScan": False}}}},
    ],
)
def test_good_ones(values: dict[str, Any]) -> None:
    assert [(f.code, f.severity) for f in findings(values)] == [("config-json", Severity.OK)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"apiKey": None}, "config-json-no-key"),
        ({"applicationId": None}, "config-json-no-fleet"),
        ({"deviceType": None}, "config-json-no-device-type"),
        ({"deviceType": "raspberrypi4-64"}, "config-json-device-type"),
        ({"deviceType": 3}, "config-json-value"),
        ({"apiEndpoint": "api.example.com"}, "config-json-value"),
        ({"apiEndpoint": "https://api:port/"}, "config-json-value"),
        ({"applicationId": "12x"}, "config-json-value"),
        ({"applicationId": True}, "config-json-value"),
        ({"vpnPort": 70000}, "config-json-value"),
        ({"persistentLogging": "yes"}, "config-json-value"),
        ({"hostname": "a_b"}, "config-json-value"),
        ({"hostname": "-a"}, "config-json-value"),
        ({"hostname": "a\nb"}, "config-json-value"),
        ({"country": "gb"}, "config-json-value"),
        ({"ntpServers": ["a", "b"]}, "config-json-value"),
        ({"os": "fan"}, "config-json-value"),
        ({"os": {"network": []}}, "config-json-value"),
        ({"os": {"sshKeys": "ssh-rsa AAAA"}}, "config-json-value"),
        ({"apiKey": "a\nb"}, "config-json-value"),
        ({"uuid": "DEADBEEF"}, "config-json-value"),
        ({"balenaRootCA": "-----BEGIN CERTIFICATE-----"}, "config-json-value"),
        ({"balenaRootCA": 7}, "config-json-value"),
        ({"os": {"network": {"connectivity": {"uri": ["x"]}}}}, "config-json-value"),
    ],
)
def test_what_would_leave_a_device_without_its_fleet_is_a_blocker(change: dict[str, Any], code: str) -> None:
    values = {key: value for key, value in {**FLEET, **change}.items() if value is not None}
    found = findings(values)
    assert code in codes(found, Severity.BLOCKER)
    assert all(f.remedy for f in found if f.severity is Severity.BLOCKER)
    assert codes(found, Severity.OK) == []


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"deviceType": "raspberrypi3"}, "config-json-unmanaged"),
        ({**FLEET, "wifiSsid": "x"}, "config-json-ignored"),
        ({**FLEET, "hostName": "x"}, "config-json-key"),
        ({**FLEET, "apiEndpoint": "http://api.local"}, "config-json-plain-http"),
        ({**REGISTERED, "deviceId": None}, "config-json-registration"),
    ],
)
def test_what_is_odd_but_may_be_meant_is_a_warning(values: dict[str, Any], code: str) -> None:
    found = findings(values)
    assert code in codes(found, Severity.WARNING)
    assert codes(found, Severity.BLOCKER) == []


def test_aliases_are_one_type() -> None:
    assert codes(findings({**FLEET, "deviceType": "nuc"}, "intel-nuc"), Severity.BLOCKER) == []
    assert codes(findings({**FLEET, "deviceType": "intel-nuc"}, "nuc"), Severity.BLOCKER) == []


def test_the_type_can_be_changed_to_the_images() -> None:
    found = findings({**FLEET, "deviceType": "raspberrypi4-64"}, change=True, hardware_types=("raspberrypi3",))
    assert codes(found, Severity.BLOCKER) == []
    assert codes(found, Severity.WARNING) == ["config-json-type-changed"]


def test_hardware_that_cannot_be_this_type() -> None:
    assert codes(findings(FLEET, hardware_types=("intel-nuc",)), Severity.BLOCKER) == ["config-json-hardware"]


def test_a_real_registered_device_is_well() -> None:
    content = (corpus("balena") / "captures/config.json.1.json").read_bytes()
    found = list(check_config_json(parse_config_json(content, "f"), Config(), image_type="raspberrypi4-64"))
    assert [finding.severity for finding in found] == [Severity.OK], found
