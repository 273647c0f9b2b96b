# SPDX-License-Identifier: Apache-2.0
"""Is config.json what balenaOS and its supervisor expect?

The system's scripts read it with jq and evaluate the result in a shell (meta-balena, balena-config-vars): a single
value of the wrong form, and *no* setting is read at all. The supervisor is more lenient: numbers may be text, and
booleans text or numbers (balena-supervisor, src/config/schema-type.ts).
"""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from balena_migrate.carried.config_json import HOST_NAME, ConfigJson
from balena_migrate.devices import device_types_for, slug_of
from balena_migrate.findings import BLOCKS, WARNS, Code, Finding, blocker, is_refused, passed, warning
from balena_migrate.settings import Config
from balena_migrate.survey import Survey

_CORRECT = "correct the file that CONFIG_JSON names"
_SAY_CONFIG = "download the fleet's config.json again, or create it with `balena-migrate config --fleet NAME`"

_DOWNLOAD = "Download the fleet's config.json again, or create it with `balena-migrate config --fleet NAME`."
CODES = (
    Code(
        "config-json-value",
        BLOCKS,
        "A value in config.json has the wrong form; balenaOS would then read none of the file.",
        "Correct the value.",
    ),
    Code("config-json-ignored", WARNS, "A key in config.json is ignored by balenaOS 2 and later.", "Remove the key."),
    Code(
        "config-json-key",
        WARNS,
        "A key in config.json is unknown to balenaOS and resembles a known one.",
        "Correct the key.",
    ),
    Code(
        "config-json-unmanaged", WARNS, "config.json has no apiEndpoint: the system will not join a fleet.", _DOWNLOAD
    ),
    Code("config-json-plain-http", WARNS, "The connection to apiEndpoint is not encrypted."),
    Code("config-json-no-key", BLOCKS, "config.json has no key with which the device could join its fleet.", _DOWNLOAD),
    Code("config-json-no-fleet", BLOCKS, "config.json does not say which fleet the device belongs to.", _DOWNLOAD),
    Code("config-json-registration", WARNS, "config.json has only part of a device's registration.", _DOWNLOAD),
    Code("config-json-no-device-type", BLOCKS, "config.json has no deviceType.", _DOWNLOAD),
    Code(
        "config-json-device-type",
        BLOCKS,
        "config.json is for another device type than the image.",
        "Use the image of the fleet's device type, or set CHANGE_DEVICE_TYPE.",
    ),
    Code("config-json-type-changed", WARNS, "CHANGE_DEVICE_TYPE replaces the device type in config.json."),
    Code(
        "config-json-hardware",
        BLOCKS,
        "config.json is for a device type that this hardware cannot be.",
        "Use an image and a config.json for this hardware.",
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    config_json = survey.payload.config_json
    if config_json is not None:
        image_type = survey.image.identity.slug if survey.image else ""
        hardware_types = tuple(device.slug for device in device_types_for(survey.facts))
        yield from check_config_json(config_json, survey.config, image_type=image_type, hardware_types=hardware_types)


def check_config_json(
    config_json: ConfigJson, config: Config, *, image_type: str, hardware_types: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """The findings on a config.json.

    `image_type` is the image's device type ("" if it is not known); `hardware_types` are those that this
    hardware can be (none: not known).
    """
    findings = [*_check_forms(config_json), *_check_identity(config_json)]
    findings += _check_device_type(config_json, config, image_type, hardware_types)
    yield from findings
    if not is_refused(findings):
        cause = f"{config_json.origin} is complete, for the device type {config_json.device_type}"
        yield passed("config-json", cause)


# The form of each value ---------------------------------------------------------------------------------------------

Test = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]{1,18}", value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_port(value: Any) -> bool:
    return _is_number(value) and 0 < int(value) < 65536


def _is_truth(value: Any) -> bool:
    return value in (True, False) or value in ("true", "false", "on", "off", "1", "0", "")


def _is_endpoint(value: Any) -> bool:
    if not _is_text(value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _is_host_name(value: Any) -> bool:
    return isinstance(value, str) and HOST_NAME.fullmatch(value) is not None


def _is_own_name(value: Any) -> bool:
    """The kernel accepts 64 bytes."""
    return _is_host_name(value) and len(value) < 64


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{62}", value) is not None


def _is_root_ca(value: Any) -> bool:
    try:
        return b"BEGIN CERTIFICATE" in base64.b64decode(value)
    except (TypeError, ValueError):
        return False


def _is_country(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Z]{2}", value) is not None


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_key_list(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


_TEXT: tuple[Test, str] = (_is_text, "must be a string")
_NUMBER: tuple[Test, str] = (_is_number, "must be a number, or a string of digits")
_PORT: tuple[Test, str] = (_is_port, "must be a port from 1 to 65535")
_TRUTH: tuple[Test, str] = (_is_truth, "must be true or false")
_ENDPOINT: tuple[Test, str] = (_is_endpoint, "must be an address such as https://api.balena-cloud.com")
_OBJECT: tuple[Test, str] = (_is_object, "must be an object")

FORMS: dict[str, tuple[Test, str]] = {
    "apiEndpoint": _ENDPOINT,
    "apiKey": _TEXT,
    "appUpdatePollInterval": _NUMBER,
    "applicationId": _NUMBER,
    "applicationName": _TEXT,
    "balenaRootCA": (_is_root_ca, "must be the base64 text of a PEM file"),
    "bootstrapRetryDelay": _NUMBER,
    "country": (_is_country, "must be two capital letters, such as GB"),
    "deltaEndpoint": _ENDPOINT,
    "developmentMode": _TRUTH,
    "deviceApiKey": _TEXT,
    "deviceApiKeys": _OBJECT,
    "deviceId": _NUMBER,
    "deviceType": _TEXT,
    "dnsServers": (_is_text, "must be one string, with spaces between the servers"),
    "hostname": (_is_own_name, "must be a host name: letters, digits, '-' and '.'"),
    "initialDeviceName": _TEXT,
    "installer": _OBJECT,
    "installer.migrate": _OBJECT,
    "installer.secureboot": _TRUTH,
    "listenPort": _PORT,
    "logsEndpoint": _ENDPOINT,
    "mixpanelToken": _TEXT,
    "ntpServers": (_is_text, "must be one string, with spaces between the servers"),
    "os": _OBJECT,
    "os.fan": _OBJECT,
    "os.fan.profile": _TEXT,
    "os.kernel": _OBJECT,
    "os.kernel.extraFirmwareVol": _TEXT,
    "os.network": _OBJECT,
    "os.network.connectivity": _OBJECT,
    "os.network.connectivity.interval": _NUMBER,
    "os.network.connectivity.response": _TEXT,
    "os.network.connectivity.uri": _TEXT,
    "os.network.wifi": _OBJECT,
    "os.network.wifi.randomMacAddressScan": _TRUTH,
    "os.power": _OBJECT,
    "os.power.mode": _TEXT,
    "os.sshKeys": (_is_key_list, "must be a list of strings"),
    "os.udevRules": _OBJECT,
    "persistentLogging": _TRUTH,
    "pubnubPublishKey": _TEXT,
    "pubnubSubscribeKey": _TEXT,
    "registered_at": _NUMBER,
    "registryEndpoint": _TEXT,
    "userId": _NUMBER,
    "username": _TEXT,
    "uuid": (_is_uuid, "must be 32 or 62 hexadecimal digits"),
    "version": _TEXT,
    "vpnEndpoint": (_is_host_name, "must be a host name"),
    "vpnPort": _PORT,
}
"""Key, with "." between the levels -> its test, and what it must be. Other keys are passed on unchanged."""

IGNORED = {"wifiSsid", "wifiKey", "files"}
"""Keys of balenaOS 1 that today's system does not read: networks are files in system-connections."""


def _check_forms(config_json: ConfigJson) -> Iterator[Finding]:
    for key, (test, wanted) in FORMS.items():
        value = _find(config_json.values, key)
        if value not in (None, "") and not test(value):
            cause = f"{config_json.origin}: {key} {wanted}; otherwise the system cannot read the file"
            yield blocker("config-json-value", cause, _CORRECT)
    for key in config_json.values:
        if key in IGNORED:
            yield warning("config-json-ignored", f"{config_json.origin}: {key} is ignored by balenaOS 2 and later")
        near = difflib.get_close_matches(key[:64], FORMS, n=1, cutoff=0.8)
        if key not in FORMS and near:
            cause = f"{config_json.origin}: the key {key[:64]!r} is unknown to balenaOS"
            yield warning("config-json-key", cause, f"did you mean {near[0]}?")


def _find(values: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(values, Mapping):
            return None
        values = values.get(name)
    return values


# Who the device is --------------------------------------------------------------------------------------------------


def _check_identity(config_json: ConfigJson) -> Iterator[Finding]:
    if not config_json.is_managed:
        cause = f"{config_json.origin} has no apiEndpoint: the new system will not join a fleet"
        yield warning("config-json-unmanaged", cause, _SAY_CONFIG)
        return
    if config_json.text("apiEndpoint").startswith("http:"):
        yield warning("config-json-plain-http", f"{config_json.origin}: apiEndpoint is not encrypted")
    has = {key for key in config_json.values if config_json.text(key)}
    registered = {"deviceApiKey", "uuid"} <= has
    if not registered and "apiKey" not in has:
        cause = (
            f"{config_json.origin} has neither apiKey nor deviceApiKey and uuid: the fleet will not accept the device"
        )
        yield blocker("config-json-no-key", cause, _SAY_CONFIG)
    if not registered and "applicationId" not in has:
        cause = f"{config_json.origin} has no applicationId: the device cannot register with its fleet"
        yield blocker("config-json-no-fleet", cause, _SAY_CONFIG)
    missing = sorted({"registered_at", "deviceId"} - has)
    if registered and "apiKey" not in has and missing:
        cause = f"{config_json.origin} belongs to a registered device, but lacks {' and '.join(missing)}"
        yield warning("config-json-registration", cause, _SAY_CONFIG)


def _check_device_type(
    config_json: ConfigJson, config: Config, image_type: str, hardware_types: tuple[str, ...]
) -> Iterator[Finding]:
    ours = config_json.device_type
    image = slug_of(image_type)
    if not ours:
        if config_json.is_managed and not config.change_device_type:
            yield blocker("config-json-no-device-type", f"{config_json.origin} has no deviceType", _SAY_CONFIG)
    elif image and ours != image:
        cause = f"{config_json.origin} is for the device type {ours!r}, but the image is for {image!r}"
        remedy = (
            "use the image of the fleet's device type, or set CHANGE_DEVICE_TYPE to write the image's into config.json"
        )
        if config.change_device_type:
            yield warning("config-json-type-changed", f"{cause}; CHANGE_DEVICE_TYPE makes it {image!r}")
        else:
            yield blocker("config-json-device-type", cause, remedy)
    final = image if config.change_device_type and image else ours
    if final and hardware_types and final not in hardware_types:
        cause = f"this hardware cannot be a {final!r}; it can be {', '.join(hardware_types)}"
        yield blocker("config-json-hardware", cause, "use an image and a config.json for one of these device types")
