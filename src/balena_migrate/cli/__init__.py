# SPDX-License-Identifier: Apache-2.0
"""The command line: one verb a function. Errors end here, each with its exit status.

The statuses are those of `core.errors.ExitStatus`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from balena_migrate import VERSION, checks
from balena_migrate.bootloaders import boot_loaders
from balena_migrate.cli.network import network_command
from balena_migrate.core import journal
from balena_migrate.core.errors import CommandError, ExitStatus, MigrateError
from balena_migrate.core.kit import find_kit
from balena_migrate.core.paths import STAGE1_LOG, STAGE2_REPORT, STATE_DIR
from balena_migrate.core.system import System
from balena_migrate.core.values import to_json
from balena_migrate.facts.gather import read_facts
from balena_migrate.findings import Finding, Severity, is_refused
from balena_migrate.images.scan import read_image
from balena_migrate.plan import Plan, describe, make_plan, to_data
from balena_migrate.settings import SETTINGS, Config, parse_value, read_config
from balena_migrate.stage1 import Stage1
from balena_migrate.status import read_status
from balena_migrate.survey import Survey, accept, take_survey
from balena_migrate.ui import out, progress, say, show_findings

REBOOT_DELAY_S = 5

Function = Callable[..., Any]


def settings_options(function: Function) -> Function:
    """Every setting as a flag, and --config."""
    for setting in reversed(SETTINGS):
        kind: dict[str, Any] = {"is_flag": False, "flag_value": "TRUE"} if setting.is_flag else {}
        option = click.option(
            setting.flag, setting.field, metavar="TRUE|FALSE" if kind else "VALUE", help=setting.help, **kind
        )
        function = option(function)
    file_help = "The settings file; default: /etc/balena-migrate.conf, if it is there."
    return click.option("--config", "config_file", metavar="FILE", help=file_help)(function)


json_option = click.option("--json", "as_json", is_flag=True, help="For a machine: JSON on standard output.")


def device_system() -> System:
    """The device that we run on, with the kit's programs where we run from a kit."""
    kit = find_kit()
    return System("/", programs=kit.programs() if kit else {})


def config_from(system: System, config_file: str | None, flags: dict[str, str | None]) -> Config:
    """The settings from file and flags."""
    by_field = {setting.field: setting for setting in SETTINGS}
    values = {
        name: parse_value(by_field[name], text, by_field[name].flag) for name, text in flags.items() if text is not None
    }
    return read_config(system, config_file, values)


@contextmanager
def surveyed(config_file: str | None, flags: dict[str, str | None]) -> Iterator[tuple[System, Survey]]:
    """This device and its survey; the temporary folder is removed in the end."""
    system = device_system()
    config = config_from(system, config_file, flags)
    with tempfile.TemporaryDirectory(prefix="balena-migrate-", dir="/var/tmp") as folder:
        yield system, take_survey(system, config, find_kit(), Path(folder), progress)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(to_json(value), indent=2))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="balena-migrate")
def cli() -> None:
    """Turns this running Linux device into a balenaOS device, in place and from afar."""


@cli.command()
@settings_options
@json_option
def check(config_file: str | None, as_json: bool, **flags: str | None) -> None:
    """Looks at everything and changes nothing; shows all findings at once."""
    with surveyed(config_file, flags) as (_, survey):
        findings = checks.run(survey)
        if as_json:
            print_json({"refused": is_refused(findings), "findings": findings})
        else:
            show_findings(findings)
    if is_refused(findings):
        raise SystemExit(ExitStatus.REFUSED)


@cli.command()
@settings_options
@json_option
def plan(config_file: str | None, as_json: bool, **flags: str | None) -> None:
    """Prints every change that `run` would make, in order, and changes nothing."""
    with surveyed(config_file, flags) as (_, survey):
        made, findings = prepare(survey)
        if as_json:
            print_json({"plan": to_data(made), "findings": findings})
        else:
            out().print(describe(made), markup=False)


@cli.command()
@settings_options
def run(config_file: str | None, **flags: str | None) -> None:
    """Does stage 1: checks, prepares everything, and arms the next boot. Takes all back where something fails."""
    run_stage1(config_file, flags)


def run_stage1(config_file: str | None, flags: dict[str, str | None]) -> None:
    """Stage 1 from its checks to the reboot, if that is wanted."""
    journal.refuse_second_run(device_system())
    with surveyed(config_file, flags) as (system, survey):
        made, findings = prepare(survey)
        start_s = time.monotonic()
        log_to_file(system)
        for finding in findings:
            if finding.severity is Severity.WARNING:
                say(f"warning: {finding.cause}")
        system.remove_file(STAGE2_REPORT)
        steps = (*made.actions, *made.boot_actions)
        journal.apply(system, steps, say, arm=bool(made.boot_actions))
        config = survey.config
        say(f"stage 1 is done in {time.monotonic() - start_s:.0f} s")
    if not made.boot_actions:
        say("NO_SETUP is set: the next boot is the old system's")
    elif config.do_reboot:
        reboot(system, made.reboot_argument)
    else:
        command = f'reboot "{made.reboot_argument}"' if made.reboot_argument else "reboot"
        say(f"{command} starts stage 2; balena-migrate undo takes everything back")


def log_to_file(system: System) -> None:
    """From now on a log goes to STAGE1_LOG, and a terminal that goes away does not end us."""
    if not system.is_dir(STATE_DIR):
        system.make_dir(STATE_DIR, mode=0o700)
    handler = logging.FileHandler(system.real(STAGE1_LOG))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    os.chmod(system.real(STAGE1_LOG), 0o600)
    logging.getLogger().addHandler(handler)
    logging.getLogger("balena_migrate").setLevel(logging.DEBUG)
    for other in logging.getLogger().handlers[:-1]:
        other.setLevel(logging.WARNING)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def prepare(survey: Survey) -> tuple[Plan, tuple[Finding, ...]]:
    """The plan and the findings. Raises RefusedError, after showing them, where one prevents the migration."""
    findings = checks.run(survey)
    if is_refused(findings):
        show_findings(findings)
    accepted = accept(survey, findings)
    stage1 = Stage1(accepted, progress=progress, say=say)
    return make_plan(accepted, stage1.actions(), stage1.boot_actions()), findings


def reboot(system: System, argument: str) -> None:
    """Warns, waits five seconds, and reboots in the orderly way; the argument is for the firmware.

    Where the reboot is refused, every change is rolled back: status 3 says that nothing is left changed.
    """
    say(f"rebooting into stage 2 in {REBOOT_DELAY_S} s; Ctrl-C keeps the device running")
    try:
        time.sleep(REBOOT_DELAY_S)
    except KeyboardInterrupt:
        say("not rebooted; the next reboot starts stage 2; balena-migrate undo rolls everything back")
        return
    plain = ["systemctl", "reboot"] if system.find_program("systemctl") else ["reboot"]
    try:
        system.run(["reboot", argument] if argument else plain)
    except CommandError:
        journal.undo(system, say)
        raise


@cli.command()
def undo() -> None:
    """Takes everything back, from any state."""
    system = device_system()
    count = journal.undo(system, say)
    say(f"{count} changes were taken back" if count else "there is nothing to take back")


@cli.command()
@json_option
def status(as_json: bool) -> None:
    """Says where this device stands."""
    found = read_status(device_system())
    if as_json:
        print_json(found)
    else:
        click.echo(found.text)


@cli.command()
@json_option
def facts(as_json: bool) -> None:
    """Prints what is true of this device, without secrets, so that it can be looked at elsewhere."""
    found = read_facts(device_system(), boot_loaders())
    if as_json:
        print_json(found)
    else:
        out().print(found)


@cli.group()
def image() -> None:
    """Looks at balenaOS images."""


@image.command("inspect")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def image_inspect(file: Path, as_json: bool) -> None:
    """Reads an image to its last byte and says what it is."""
    with tempfile.TemporaryDirectory(prefix="balena-migrate-", dir="/var/tmp") as folder, progress("image") as report:
        found = read_image(file, Path(folder), report)
    if as_json:
        print_json(found)
    else:
        out().print(found)


cli.add_command(network_command, "network")


def add_workstation_commands() -> None:
    """The verbs of a workstation, where they are: a device's kit has none of them."""
    with contextlib.suppress(ModuleNotFoundError):
        from balena_migrate.cli.kit import kit_command
        from balena_migrate.cli.rehearse import rehearse_command
        from balena_migrate.workstation.fleet.cloud import config_command

        cli.add_command(config_command)
        cli.add_command(kit_command, "kit")
        cli.add_command(rehearse_command, "rehearse")


add_workstation_commands()


def main() -> None:
    """The command `balena-migrate`."""
    sys.exit(guarded(cli))


def stage1_main() -> None:
    """The command `balena-stage1`: `balena-migrate run` under its old name."""
    sys.exit(guarded(run))


def guarded(command: click.Command) -> int:
    """Runs a command and turns errors into one line and an exit status; with BALENA_MIGRATE_DEBUG into a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitStatus.USAGE
    except click.Abort:
        say("interrupted")
        return ExitStatus.FAILED
    except MigrateError as error:
        if os.environ.get("BALENA_MIGRATE_DEBUG"):
            raise
        say(f"error: {error}")
        return error.exit_status
    except SystemExit as error:
        return int(error.code or 0)
    except Exception:
        # Python's own status for it is 1, which says "refused" here.
        traceback.print_exc()
        return ExitStatus.FAILED
    return ExitStatus.DONE
