# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate facts`."""

from __future__ import annotations

import rich_click as click

from balena_migrate.cli.options import device_system, json_option
from balena_migrate.cli.output import print_json
from balena_migrate.cli.sections import facts_sections, format_sections
from balena_migrate.facts import Facts

DOCUMENT = Facts


@click.command()
@json_option
def facts(as_json: bool) -> None:
    """Print what this device is, without secrets."""
    from balena_migrate.bootloaders import boot_loaders
    from balena_migrate.facts.gather import read_facts

    found = read_facts(device_system(), boot_loaders())
    if as_json:
        print_json(found)
    else:
        click.echo(format_sections(facts_sections(found)))
