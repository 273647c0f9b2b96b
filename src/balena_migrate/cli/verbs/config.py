# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate config`, on a workstation."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from balena_migrate.cli.output import say
from balena_migrate.core.balena import CONFIG_JSON
from balena_migrate.core.errors import UsageError
from balena_migrate.core.system import System

CLOUD = "balena-cloud.com"


@click.command()
@click.option("--fleet", required=True, metavar="NAME", help="The fleet: organisation/name, or its number.")
@click.option("--os-version", required=True, metavar="VERSION", help="The version of the image, such as 6.0.10.")
@click.option("--device-type", default="", metavar="SLUG", help="The device type of the image; default: the fleet's.")
@click.option("--output", default=CONFIG_JSON, show_default=True, metavar="FILE", help="The file to write.")
@click.option("--token-file", default="", metavar="FILE", help="A file with the token; default: $BALENA_API_KEY.")
@click.option("--host", default=CLOUD, show_default=True, metavar="DOMAIN", help="The domain of the cloud.")
def config(fleet: str, os_version: str, device_type: str, output: str, token_file: str, host: str) -> None:
    """Download a fleet's config.json, for CONFIG_JSON.

    It is a secret: only you can read the file, and nothing of it is printed.
    """
    from balena_migrate.workstation.fleet.cloud import fetch_config, read_token

    path = str(Path(output).absolute())
    system = System("/")
    if system.exists(path):
        raise UsageError(f"{path} already exists", hint="name another file with --output, or remove it")
    token = read_token(system, token_file)
    system.write_file(path, fetch_config(fleet, os_version, device_type, token, host), mode=0o600)
    say(f"{path} holds the settings of {fleet}: name it in CONFIG_JSON, and keep it secret")
