# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate network`: what the old system knows of its networks, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from balena_migrate.checks.network import check_network
from balena_migrate.core.system import System
from balena_migrate.core.values import to_json
from balena_migrate.facts.network import read_network_facts
from balena_migrate.findings import is_refused
from balena_migrate.network.model import Ip, Profile
from balena_migrate.network.read import read_network
from balena_migrate.network.select import Selection, named_profiles, select_profiles
from balena_migrate.settings import find_setting, parse_value, read_config
from balena_migrate.ui import out, printable, show_findings

EXIT_REFUSED = 1
KEYS = ("HOME_DIR", "HAS_WIFI_CFG", "MIGRATE_ALL_WIFIS", "MIGRATE_WIFI_CFG", "ALLOW_OFFLINE")
"""The settings that matter here."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; it holds no secret."""

    name: str
    kind: str
    security: str
    addresses: str
    source: str
    becomes: str


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The settings that matter here as flags."""
    for setting in map(find_setting, reversed(KEYS)):
        extra: dict[str, Any] = {"is_flag": False, "flag_value": "TRUE"} if setting.is_flag else {}
        function = click.option(setting.flag, setting.field, metavar="VALUE", help=setting.help, **extra)(function)
    return function


@click.command("network")
@click.option("--config", "config_file", metavar="FILE", help="The settings file.")
@network_options
@click.option("--json", "as_json", is_flag=True, help="For a machine: JSON on standard output.")
def network_command(config_file: str | None, as_json: bool, **flags: str | None) -> None:
    """Shows which network settings there are, where, and what becomes of each. Shows no secrets."""
    show_network(System("/"), config_file, flags, as_json=as_json)


def show_network(system: System, config_file: str | None, flags: dict[str, str | None], *, as_json: bool) -> None:
    """Prints the table and the findings. Raises SystemExit where a finding forbids to go on."""
    settings = {name: find_setting(name.upper()) for name in flags}
    values = {n: parse_value(settings[n], text, settings[n].flag) for n, text in flags.items() if text is not None}
    config = read_config(system, config_file, values)
    facts = read_network_facts(system)
    network = read_network(system, facts)
    selection = select_profiles(config, network, system)
    rows = tuple(rows_of(selection, dict(named_profiles(config, selection))))
    findings = tuple(check_network(config, facts, network, selection))
    if as_json:
        data = {"profiles": rows, "country": network.country, "findings": findings}
        click.echo(json.dumps(to_json(data), indent=2))
    else:
        _print(rows, network.country)
        show_findings(findings)
    if is_refused(findings):
        raise SystemExit(EXIT_REFUSED)


def rows_of(selection: Selection, names: dict[str, Profile]) -> Iterator[Row]:
    """A row for every profile and the proxy; `names` are the selected profiles by file name."""
    for name, profile in names.items():
        yield _row(profile, f"system-connections/{name}")
    for profile in selection.automatic:
        yield _row(profile, "needs no file: wired, with DHCP")
    for profile in selection.left_out:
        yield _row(profile, "left out, as the settings say")
    proxy = selection.proxy
    if proxy:
        place, becomes = f"{proxy.host}:{proxy.port}", "system-proxy/redsocks.conf"
        yield Row(name=place, kind="proxy", security=proxy.kind, addresses="", source=proxy.source, becomes=becomes)


def _row(profile: Profile, becomes: str) -> Row:
    words = [str(profile.wifi.security) if profile.wifi else "", *(profile.eap.methods if profile.eap else ())]
    addresses = [" ".join(_addresses(ip)) for ip in (profile.ipv4, profile.ipv6) if ip]
    return Row(
        name=profile.name,
        kind=str(profile.kind),
        security=" ".join(filter(None, words)),
        addresses=", ".join(filter(None, addresses)),
        source=profile.source,
        becomes=becomes,
    )


def _addresses(ip: Ip) -> tuple[str, ...]:
    return ip.addresses or (str(ip.method),)


def _print(rows: tuple[Row, ...], country: str) -> None:
    """A table at a terminal, else a line for each."""
    console = out()
    if not console.is_terminal:
        for row in rows:
            cells = (row.name, row.kind, row.security, row.addresses, row.source, row.becomes)
            click.echo("\t".join(printable(cell) for cell in cells))
    else:
        table = Table("network", "kind", "security", "addresses", "found in", "becomes")
        for row in rows:
            cells = (row.name, row.kind, row.security, row.addresses, row.source, row.becomes)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        console.print(table)
    if country:
        console.print(Text(f"country for Wi-Fi: {country}"))
