# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate undo`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import rich_click as click

from balena_migrate.cli.options import device_system, json_option
from balena_migrate.cli.output import print_json, say
from balena_migrate.core import journal


@dataclass(frozen=True, kw_only=True)
class UndoOutput:
    """What was rolled back."""

    changes: int
    """How many changes; 0 where there was nothing to roll back."""
    format: int = 1


DOCUMENT = UndoOutput


@click.command()
@json_option
def undo(as_json: bool) -> None:
    """Roll back every change, from any state."""
    count = journal.undo(device_system(), say)
    if as_json:
        with contextlib.suppress(OSError):  # a reader that is gone makes no failure of it
            print_json(UndoOutput(changes=count))
    else:
        say(f"{count} changes were rolled back" if count else "there is nothing to roll back")
