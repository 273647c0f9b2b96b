"""`balena-migrate network`: what the old system knows of its networks, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from balena_migrate.checks import Severity
from balena_migrate.checks.network import check_network
from balena_migrate.config import read_config
from balena_migrate.facts.network import read_network_facts
from balena_migrate.network.boot import Selection, named_profiles, select_profiles
from balena_migrate.network.model import Ip, Profile
from balena_migrate.network.settings import read_network
from balena_migrate.system import System
from balena_migrate.values import to_json

EXIT_REFUSED = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; it holds no secret."""

    name: str
    kind: str
    source: str
    security: str
    addresses: str
    becomes: str


@click.command("network")
@click.option("--config", "config_file", metavar="FILE", help="The settings file.")
@click.option("--all-wifis", is_flag=True, help="As with MIGRATE_ALL_WIFIS: take all Wi-Fi networks along.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def network_command(context: click.Context, config_file: str | None, all_wifis: bool, as_json: bool) -> None:
    """Show the network settings that are found, and what becomes of them. Secrets are not shown."""
    system = System("/")
    config = read_config(system, config_file, {"migrate_all_wifis": True if all_wifis else None})
    settings = read_network(system)
    facts = read_network_facts(system)
    selection = select_profiles(config, settings, system)
    rows = rows_of(selection, [name for name, _ in named_profiles(config, selection)])
    findings = list(check_network(config, facts, settings, selection))
    if as_json:
        click.echo(json.dumps(to_json({"profiles": rows, "findings": findings, "country": settings.country}), indent=2))
    else:
        _print(rows, findings, settings.country)
    if any(finding.severity is Severity.BLOCKER for finding in findings):
        context.exit(EXIT_REFUSED)


def rows_of(selection: Selection, names: list[str]) -> list[Row]:
    """A row for every profile; `names` are the file names of the selected ones."""
    chosen = [_row(profile, name) for profile, name in zip(selection.profiles, names, strict=True)]
    automatic = [_row(profile, "no file needed: DHCP by itself") for profile in selection.automatic]
    return [*chosen, *automatic, *(_row(profile, "left out") for profile in selection.left_out), *_proxy_row(selection)]


def _row(profile: Profile, becomes: str) -> Row:
    security = str(profile.wifi.security) if profile.wifi else ""
    methods = ",".join(profile.eap.methods) if profile.eap else ""
    return Row(
        name=profile.name,
        kind=str(profile.kind),
        source=profile.source,
        security=" ".join(word for word in (security, methods) if word),
        addresses=", ".join(part for part in (_addresses(profile.ipv4), _addresses(profile.ipv6)) if part),
        becomes=becomes,
    )


def _addresses(ip: Ip | None) -> str:
    if ip is None:
        return ""
    return " ".join(ip.addresses) or str(ip.method)


def _proxy_row(selection: Selection) -> list[Row]:
    proxy = selection.proxy
    if proxy is None:
        return []
    place = f"{proxy.host}:{proxy.port}"
    becomes = "system-proxy/redsocks.conf"
    return [Row(name=place, kind="proxy", source=proxy.source, security=proxy.kind, addresses="", becomes=becomes)]


def _print(rows: list[Row], findings: list[Any], country: str) -> None:
    console = Console(soft_wrap=True)
    table = Table("Network", "Kind", "Security", "Addresses", "Found in", "Becomes")
    for row in rows:
        cells = (row.name, row.kind, row.security, row.addresses, row.source, row.becomes)
        table.add_row(*(Text(_printable(cell)) for cell in cells))
    console.print(table if rows else Text("No network settings were found."))
    if country:
        console.print(Text(f"Country for Wi-Fi: {country}"))
    for finding in findings:
        console.print(Text(_printable(f"{finding.severity}: {finding.cause}")))
        if finding.remedy:
            console.print(Text(_printable(f"  -> {finding.remedy}")))


def _printable(text: str) -> str:
    """Without anything that a terminal could take for a command; file names hold what their makers liked."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
