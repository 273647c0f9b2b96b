# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate status`."""

from __future__ import annotations

from dataclasses import dataclass

import rich_click as click

from balena_migrate.cli.options import device_system, json_option
from balena_migrate.cli.output import print_json
from balena_migrate.core.lock import Holder
from balena_migrate.core.stage2_result import Stage2Result
from balena_migrate.status import DeviceState, read_status


@dataclass(frozen=True, kw_only=True)
class StatusOutput:
    """How far the migration of this device is."""

    state: DeviceState
    changes: int
    """How many changes are in place now."""
    stage2_result: Stage2Result | None
    """What the newest stage 2 left behind, also after an undo; null where none ran."""
    in_progress: Holder | None
    """The run or undo that changes the device at this moment; null where none does."""
    format: int = 1


DOCUMENT = StatusOutput


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Print how far the migration of this device is."""
    found = read_status(device_system())
    if as_json:
        print_json(
            StatusOutput(
                state=found.state,
                changes=found.changes,
                stage2_result=found.stage2_result,
                in_progress=found.holder,
            )
        )
    else:
        click.echo(found.text)
