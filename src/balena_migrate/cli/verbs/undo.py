# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate undo`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import rich_click as click

from balena_migrate.cli.options import device_system, json_option
from balena_migrate.cli.output import print_json, say
from balena_migrate.core import journal
from balena_migrate.core.errors import FileError
from balena_migrate.core.lock import locked
from balena_migrate.core.system import System


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
    """Roll back every change, from any state.

    While `run` waits before its reboot, this prevents it.
    """
    count = roll_back(device_system())
    if as_json:
        with contextlib.suppress(OSError):  # a reader that is gone makes no failure of it
            print_json(UndoOutput(changes=count))
    else:
        say(f"{count} changes were rolled back" if count else "there is nothing to roll back")


def roll_back(system: System) -> int:
    """Roll back every change; return how many there were. Raises InProgressError if a run is at work.

    Where the lock cannot be taken, undo goes on without it: it is the way out of any state.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(system, "undo"))
        except FileError as error:
            say(f"warning: {error}: whether a run is in progress cannot be known")
        return journal.undo(system, say)
