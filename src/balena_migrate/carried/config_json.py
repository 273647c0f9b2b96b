# SPDX-License-Identifier: Apache-2.0
"""config.json: the new system's identity as its owner's file defines it, and what we add to it.

The file contains keys to the fleet. Its values never appear in a message, a log or a repr; names of keys may.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from balena_migrate.core.balena import CONFIG_JSON
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.devices import slug_of
from balena_migrate.settings import Config

IDENTITY_KEYS = frozenset(
    ("apiKey", "deviceApiKey", "deviceApiKeys", "uuid", "deviceId", "registered_at", "applicationId")
)
"""Keys that belong together: one file's are never mixed with another's."""

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
"""Host names as in RFC 1123."""

DEPTH_LIMIT = 20


@dataclass(frozen=True, kw_only=True)
class ConfigJson:
    """A valid JSON object; `origin` says where it is from."""

    origin: str
    values: Mapping[str, Any] = field(repr=False)

    def text(self, key: str) -> str:
        """The value of a key as text, as the system's own shell scripts see it; empty unless it is text or a number."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return ""
        return str(value)

    @property
    def device_type(self) -> str:
        """The slug; aliases are resolved."""
        return slug_of(self.text("deviceType"))

    @property
    def is_managed(self) -> bool:
        """Whether the device will talk to a balenaCloud or openBalena at all."""
        return bool(self.text("apiEndpoint"))


def read_config_json(system: System, config: Config) -> ConfigJson | None:
    """The file that CONFIG_JSON names, or None if the setting is empty.

    Raises FileError if it is missing, larger than a MiB, or not a JSON object.
    """
    if not config.config_json:
        return None
    path = config.in_home(config.config_json)
    return parse_config_json(system.read_bytes(path), path)


def parse_config_json(content: bytes, origin: str) -> ConfigJson:
    """The values of a config.json. Raises FileError, which names `origin` and a line but none of the content."""

    def refuse(reason: str) -> NoReturn:
        raise FileError(origin, f"is not a usable config.json: {reason}") from None

    try:
        values = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        refuse("it is not UTF-8 text")
    except json.JSONDecodeError as error:
        refuse(f"line {error.lineno}, column {error.colno}: {error.msg}")
    except _DoubleKeyError as error:
        refuse(f"it has the key {error} twice")
    except (ValueError, RecursionError):
        refuse("it contains NaN, Infinity or an oversized number, or is nested too deeply")
    if not isinstance(values, dict):
        refuse("it is not a JSON object")
    if _depth(values) > DEPTH_LIMIT:
        refuse("it is nested too deeply")
    return ConfigJson(origin=origin, values=values)


class _DoubleKeyError(Exception):
    """Of two values for one key, different readers take different ones."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise _DoubleKeyError(repr(key[:40]))
        values[key] = value
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def merged(config_json: ConfigJson | None, edits: Mapping[str, Any], image_content: bytes = b"") -> bytes:
    """The config.json that goes into resin-boot: the image's own, below the owner's, below our edits.

    `edits` are keys and values; objects are merged key by key. Where the owner provides a file, the image's identity
    (IDENTITY_KEYS) is dropped. Raises FileError if the image's own file is not a JSON object.
    """
    values: dict[str, Any] = {}
    if image_content.strip():
        values = dict(parse_config_json(image_content, f"the image's {CONFIG_JSON}").values)
    if config_json is not None:
        values = {key: value for key, value in values.items() if key not in IDENTITY_KEYS}
        values = _laid_over(values, config_json.values)
    values = _laid_over(values, edits)
    return json.dumps(values, indent=2).encode("ascii") + b"\n"


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _laid_over(old, value)
        result[key] = value
    return result
