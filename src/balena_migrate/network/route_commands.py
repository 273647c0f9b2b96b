# SPDX-License-Identifier: Apache-2.0
"""The commands of ip(8) and route(8) that add routes, as found in other files."""

from __future__ import annotations

from pathlib import PurePosixPath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.network.addresses import parse_address, parse_destination
from balena_migrate.network.files.number import find_number
from balena_migrate.network.model import Route


def parse_route_command(command: str, interface: str) -> Route | None:
    """The route that a command such as "ip route add 10.0.0.0/8 via 192.0.2.1" adds for the interface; None for any
    other command.
    """
    words = [word for word in command.split() if word not in ("||", "true")]
    program = PurePosixPath(words[0]).name if words else ""
    if "dev" in words[:-1] and words[words.index("dev") + 1].strip('"') not in (interface, "$IFACE", "${IFACE}"):
        return None
    try:
        if program == "ip":
            return _ip_route([word for word in words[1:] if word not in ("-4", "-6")])
        if program == "route" and "add" in words:
            return _net_tools_route(words[words.index("add") + 1 :])
    except NetworkConfigError:
        return None
    return None


def _ip_route(words: list[str]) -> Route | None:
    if len(words) < 3 or words[0] not in ("route", "r", "ro") or words[1] not in ("add", "replace", "append"):
        return None
    options = dict(zip(words[3::2], words[4::2], strict=False))
    if not set(options) <= {"via", "dev", "metric", "src", "proto", "scope"}:
        return None
    via, metric = options.get("via", ""), options.get("metric", "")
    return Route(
        destination=parse_destination(words[2], via),
        gateway=parse_address(via) if via else "",
        metric=find_number(metric),
        source=options.get("src", ""),
    )


def _net_tools_route(words: list[str]) -> Route | None:
    kind = words.pop(0) if words and words[0] in ("-net", "-host") else ""
    if not words:
        return None
    target = words.pop(0)
    options = dict(zip(words[::2], words[1::2], strict=False))
    via, metric = options.get("gw", ""), options.get("metric", "")
    mask = "" if kind == "-host" or target == "default" else options.get("netmask", "")
    return Route(
        destination=parse_destination(target, via, mask),
        gateway=parse_address(via) if via else "",
        metric=find_number(metric),
    )
