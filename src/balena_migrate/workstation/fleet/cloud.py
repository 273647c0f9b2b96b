# SPDX-License-Identifier: Apache-2.0
"""A fleet's config.json from balenaCloud or openBalena, on a workstation.

It is downloaded by the official balena-sdk, which no device needs: pip install 'balena-migrate[fleet]'.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from balena_migrate.carried.config_json import parse_config_json
from balena_migrate.checks.config_json import check_config_json
from balena_migrate.core.errors import FileError, FleetError, UsageError
from balena_migrate.core.system import System
from balena_migrate.findings import Severity
from balena_migrate.settings import Config

TOKEN_VARIABLE = "BALENA_API_KEY"
CLOUD = "balena-cloud.com"


def read_token(system: System, file: str) -> str:
    """The token from a file, else from the environment. Raises UsageError if there is none or it is not one."""
    text = system.read_text(Path(file).absolute()) if file else os.environ.get(TOKEN_VARIABLE, "")
    token = text.strip()
    if not token:
        raise UsageError("there is no token", hint=f"put it into ${TOKEN_VARIABLE}, or name a file with --token-file")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("the token is malformed: it contains spaces or line breaks")
    return token


def fetch_config(fleet: str, os_version: str, device_type: str, token: str, host: str = CLOUD) -> bytes:
    """The content of a complete config.json for new devices of the fleet.

    Raises FleetError if the fleet is not there, the token is not taken, or the answer cannot be used.
    """
    sdk = _import_sdk()
    options = {"version": os_version, **({"deviceType": device_type} if device_type else {})}
    cloud = sdk.Balena({"balena_host": host, "data_directory": False})
    cloud.auth.login_with_token(token)
    try:
        answer = cloud.models.os.get_config(int(fleet) if fleet.isdecimal() else fleet, options)
    except (sdk.exceptions.NotLoggedIn, OSError):
        # The sdk turns every trouble of the network into NotLoggedIn, or lets it through.
        raise FleetError(f"{host} cannot be reached, or does not take the token") from None
    except sdk.exceptions.BalenaException as error:
        raise FleetError(f"{host}, fleet {fleet}: {_reason(error, token)}") from None
    return _judged(answer, f"the answer of {host}")


def _import_sdk() -> Any:
    try:
        import balena
        import balena.exceptions
    except ImportError:
        raise FleetError("balena-sdk is not installed", hint="pip install 'balena-migrate[fleet]'") from None
    return balena


def _reason(error: Exception, token: str) -> str:
    """The first line of an error, short; an answer that repeats the token must not spread it."""
    text = str(getattr(error, "message", "") or error).replace(token, "<token>")
    return (text.splitlines() or [type(error).__name__])[0][:200]


def _judged(answer: Any, origin: str) -> bytes:
    """The sdk gives an error's text as it gives an answer."""
    if not isinstance(answer, dict):
        raise FleetError(f"{origin} is no config.json", hint="may this token read the fleet's settings?")
    content = json.dumps(answer, indent=2).encode("ascii") + b"\n"
    try:
        config_json = parse_config_json(content, origin)
    except FileError as error:
        raise FleetError(str(error)) from None
    if not config_json.is_managed:
        raise FleetError(f"{origin} has no apiEndpoint")
    found = check_config_json(config_json, Config(), image_type="")
    blockers = [finding.cause for finding in found if finding.severity is Severity.BLOCKER]
    if blockers:
        raise FleetError("; ".join(blockers))
    return content
