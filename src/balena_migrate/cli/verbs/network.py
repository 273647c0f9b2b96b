# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate network`: the network settings of the old system, and what each is migrated to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rich_click as click

from balena_migrate.cli.options import Flags, config_from, device_system, json_option, settings_options
from balena_migrate.cli.output import print_json, print_table, show_findings
from balena_migrate.core.balena import CONNECTIONS_FOLDER, REDSOCKS_CONF
from balena_migrate.core.errors import ExitStatus
from balena_migrate.core.system import System
from balena_migrate.findings import Finding, is_refused
from balena_migrate.settings import find_setting

if TYPE_CHECKING:
    from balena_migrate.network.model import Ip, Profile
    from balena_migrate.network.select import Selection

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


@dataclass(frozen=True, kw_only=True)
class NetworkOutput:
    """The network settings of the old system, and what each is migrated to."""

    profiles: tuple[Row, ...]
    country: str
    """For Wi-Fi, two letters; "" if unknown."""
    findings: tuple[Finding, ...]
    format: int = 1


DOCUMENT = NetworkOutput


@click.command()
@settings_options(map(find_setting, KEYS))
@json_option
def network(config_file: str | None, as_json: bool, **flags: str | None) -> None:
    """Print the network settings and what each is migrated to.

    Secrets are not printed.
    """
    show_network(device_system(), config_file, flags, as_json=as_json)


def show_network(system: System, config_file: str | None, flags: Flags, *, as_json: bool) -> None:
    """Prints the table and the findings. Raises SystemExit where a finding forbids the migration."""
    from balena_migrate.checks.network import check_network
    from balena_migrate.facts.network import read_network_facts
    from balena_migrate.network.read import read_network
    from balena_migrate.network.select import named_profiles, select_profiles

    config = config_from(system, config_file, flags)
    facts = read_network_facts(system)
    found = read_network(system, facts)
    selection = select_profiles(config, found, system)
    rows = tuple(rows_of(selection, dict(named_profiles(config, selection))))
    findings = tuple(check_network(config, facts, found, selection))
    if as_json:
        print_json(NetworkOutput(profiles=rows, country=found.country, findings=findings))
    else:
        _print(rows, found.country)
        show_findings(findings)
    if is_refused(findings):
        raise SystemExit(ExitStatus.REFUSED)


def rows_of(selection: Selection, names: dict[str, Profile]) -> Iterator[Row]:
    """A row for every profile and the proxy; `names` are the selected profiles by file name."""
    for name, profile in names.items():
        yield _row(profile, f"{CONNECTIONS_FOLDER}/{name}")
    for profile in selection.automatic:
        yield _row(profile, "needs no file: wired, with DHCP")
    for profile in selection.left_out:
        yield _row(profile, "left out, as the settings say")
    proxy = selection.proxy
    if proxy:
        place, becomes = f"{proxy.host}:{proxy.port}", REDSOCKS_CONF
        yield Row(name=place, kind="proxy", security=proxy.kind, addresses="", source=proxy.source, becomes=becomes)


def _row(profile: Profile, becomes: str) -> Row:
    words = [str(profile.wifi.security) if profile.wifi else "", *(profile.eap.methods if profile.eap else ())]
    addresses = [" ".join(_addresses(ip)) for ip in (profile.ipv4, profile.ipv6) if ip]
    return Row(
        name=profile.name,
        kind=str(profile.kind),
        security=" ".join(filter(None, words)),
        addresses="none: a port" if profile.is_port else ", ".join(filter(None, addresses)),
        source=profile.source,
        becomes=becomes,
    )


def _addresses(ip: Ip) -> tuple[str, ...]:
    return ip.addresses or (str(ip.method),)


def _print(rows: tuple[Row, ...], country: str) -> None:
    cells = [(row.name, row.kind, row.security, row.addresses, row.source, row.becomes) for row in rows]
    print_table(("network", "kind", "security", "addresses", "found in", "migrated to"), cells)
    if country:
        click.echo(f"country for Wi-Fi: {country}")
