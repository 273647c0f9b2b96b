# SPDX-License-Identifier: Apache-2.0
"""The command line. Each verb is a file in `verbs`; what goes wrong ends here, each error with its exit status.

The statuses are those of `core.errors.ExitStatus`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback

import rich_click as click
from rich_click import rich_click as appearance

from balena_migrate import VERSION
from balena_migrate.cli import verbs
from balena_migrate.cli.output import ErrorOutput, Session, print_json, say
from balena_migrate.core.errors import ExitStatus, MigrateError, UsageError
from balena_migrate.core.plugins import load, module_names

WORKSTATION_VERBS = ("config", "rehearse")
"""A device's kit does not have them."""

STATUSES = {
    ExitStatus.DONE: "Done.",
    ExitStatus.REFUSED: (
        "Refused by a finding, or because changes of an earlier run are in place, or another run or undo is at work; "
        "nothing was changed."
    ),
    ExitStatus.USAGE: "Wrong use; nothing was changed.",
    ExitStatus.FAILED: "Failed or interrupted; nothing is left changed.",
    ExitStatus.NOT_ROLLED_BACK: "Failed, and a change could not be rolled back: someone has to look at the device.",
}

# Plain text without boxes, since a device's console may be a serial line.
appearance.THEME = "default-slim"
appearance.MAX_WIDTH = 110


class Verbs(click.RichGroup):
    """Finds each verb in a file of its own, and loads that file when the verb is asked for, so that all start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs that are here."""
        return module_names(verbs.__path__)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb. Raises UsageError for one that only a workstation has."""
        if cmd_name in self.list_commands(ctx):
            command: click.Command = load(verbs.__name__, cmd_name, cmd_name)
            return command
        if cmd_name in WORKSTATION_VERBS:
            raise UsageError(
                f"{cmd_name} runs on a workstation; the kit of a device does not have it",
                hint=f"install balena-migrate on a workstation and run balena-migrate {cmd_name} there",
            )
        return None


EPILOG = "Exit status:\n\n" + "\n\n".join(f"  {status:d}  {text}" for status, text in STATUSES.items())


@click.group(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="balena-migrate")
def cli() -> None:
    """Turn this running Linux device into a balenaOS device, in place and remotely."""


def main() -> None:
    """The command `balena-migrate`."""
    sys.exit(guarded(cli, "balena-migrate"))


def stage1_main() -> None:
    """The command `balena-stage1`: `balena-migrate run` under its old name."""
    sys.exit(guarded(load(verbs.__name__, "run", "run"), "balena-stage1"))


def guarded(command: click.Command, name: str | None = None) -> int:
    """Runs a command, under this name, and turns errors into one line, or JSON, and an exit status.

    With BALENA_MIGRATE_DEBUG an error is a traceback.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    session = Session()
    try:
        command.main(prog_name=name, standalone_mode=False, obj=session)
    except click.ClickException as error:
        if asks_for_json(error):
            return report(True, error.format_message(), ExitStatus.USAGE)
        error.show()
        return ExitStatus.USAGE
    except click.Abort:
        return report(session.as_json, "interrupted", ExitStatus.FAILED)
    except MigrateError as error:
        if os.environ.get("BALENA_MIGRATE_DEBUG"):
            raise
        return report(session.as_json, error.message, error.exit_status, error.hint)
    except SystemExit as error:
        return int(error.code or 0)
    except Exception as error:
        # Python's own status for it is 1, which says "refused" here.
        traceback.print_exc()
        return report(session.as_json, f"{type(error).__name__}: {error}", ExitStatus.FAILED)
    return ExitStatus.DONE


def asks_for_json(error: click.ClickException) -> bool:
    """Whether the verb that was called wrongly has a switch --json, and was given it."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    switches = [parameter.name for parameter in context.command.params] if context else []
    return "as_json" in switches and "--json" in sys.argv


def report(as_json: bool, message: str, status: ExitStatus, hint: str = "") -> int:
    """Prints what went wrong, as JSON on standard output or as a line on standard error; returns the status."""
    if as_json:
        print_json(ErrorOutput(error=message, hint=hint, exit_status=status))
    else:
        say(f"error: {message} ({hint})" if hint else f"error: {message}")
    return status
