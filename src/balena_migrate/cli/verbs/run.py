# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate run`, and `balena-stage1`: stage 1 from its checks to the reboot."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from dataclasses import dataclass, replace
from typing import Any

import rich_click as click

from balena_migrate.cli.options import Flags, device_system, fresh_option, json_option, settings_options
from balena_migrate.cli.output import print_json, say
from balena_migrate.cli.verbs.plan import Change, changes
from balena_migrate.core import journal
from balena_migrate.core.errors import CommandError, FileError, InProgressError, InterruptedRunError
from balena_migrate.core.lock import locked
from balena_migrate.core.paths import STAGE1_LOG, STAGE2_RESULT, STATE_DIR
from balena_migrate.core.system import System
from balena_migrate.findings import Finding, Severity

REBOOT_DELAY_S = 5


@dataclass(frozen=True, kw_only=True)
class RunOutput:
    """What stage 1 did."""

    armed: bool
    """Whether the next boot starts stage 2; false with NO_SETUP."""
    reboots: bool
    """Whether the device reboots into stage 2 now, as DO_REBOOT asks."""
    reboot_argument: str
    """The argument with which `reboot` starts stage 2; "" for none."""
    changes: tuple[Change, ...]
    """All changes that were made, in order; `undo` rolls them back."""
    findings: tuple[Finding, ...]
    duration_s: float
    """How long the changes took."""
    format: int = 1


DOCUMENT = RunOutput


@click.command()
@settings_options()
@fresh_option
@json_option
def run(config_file: str | None, fresh: bool, as_json: bool, **flags: str | None) -> None:
    """Prepare the migration and arm the next boot.

    Roll back on any failure.
    """
    system = device_system()
    with locked(system, "run"):
        journal.refuse_second_run(system)
        done = run_stage1(system, config_file, flags, fresh=fresh, as_json=as_json)
    if done.reboots:
        done = replace(done, reboots=reboot(system, done.reboot_argument))
    elif done.armed:
        command = f'reboot "{done.reboot_argument}"' if done.reboot_argument else "reboot"
        say(f"{command} starts stage 2; balena-migrate undo rolls everything back")
    else:
        say("NO_SETUP is set: the next boot starts the old system")
    if as_json:
        with contextlib.suppress(OSError):  # a reader that is gone makes no failure of it
            print_json(done)


def run_stage1(system: System, config_file: str | None, flags: Flags, *, fresh: bool, as_json: bool) -> RunOutput:
    """Stage 1 was applied. Raises SystemExit where a finding prevents that."""
    from balena_migrate.cli.device import prepare, surveyed

    with surveyed(system, config_file, flags, fresh=fresh) as survey:
        made, findings = prepare(survey, as_json=as_json)
        start_s = time.monotonic()
        log_to_file(system)
        for finding in findings:
            if finding.severity is Severity.WARNING:
                say(f"warning: {finding.cause}")
        system.remove_file(STAGE2_RESULT)
        armed = bool(made.boot_actions)
        actions = (*made.actions, *made.boot_actions)
        journal.apply(system, actions, say, arm=armed)
        on_interrupt(signal.SIG_IGN)  # what is done is done: status 3 would say that nothing is left changed
        duration_s = time.monotonic() - start_s
        say(f"stage 1 is done in {duration_s:.0f} s")
        return RunOutput(
            armed=armed,
            reboots=armed and survey.config.do_reboot,
            reboot_argument=made.reboot_argument,
            changes=changes(actions),
            findings=findings,
            duration_s=duration_s,
        )


def log_to_file(system: System) -> None:
    """From now on a log goes to STAGE1_LOG, and a terminal that goes away does not end us."""
    if not system.is_dir(STATE_DIR):
        system.make_dir(STATE_DIR, mode=0o700)
    with system.updating(STAGE1_LOG):  # from its first byte, it is root's alone
        log = system.real(STAGE1_LOG)
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.chmod(0o600)
    logging.getLogger().addHandler(handler)
    logging.getLogger("balena_migrate").setLevel(logging.DEBUG)
    for other in logging.getLogger().handlers[:-1]:
        other.setLevel(logging.WARNING)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def reboot(system: System, argument: str) -> bool:
    """Warns, waits five seconds, and reboots in the orderly way; the argument is for the firmware.

    False if the user stopped it. The lock is free while it waits, so that undo works; then there is no reboot, and
    InterruptedRunError is raised, or UndoError if undo has failed. Where the reboot is refused, every change is rolled
    back: status 3 says that nothing is left changed.
    """
    if not wait_for_reboot():
        say("not rebooted; the next reboot starts stage 2; balena-migrate undo rolls everything back")
        return False
    try:
        with locked(system, "run"):
            journal.expect_armed(system)
            start_reboot(system, argument)
    except InProgressError as error:
        raise InterruptedRunError(f"not rebooted: {error.message}", hint=error.hint) from None
    except FileError:  # no lock
        journal.undo(system, say)
        raise
    return True


def wait_for_reboot() -> bool:
    """Whether the time is over, and nobody has stopped the reboot by Ctrl-C or kill."""
    try:
        on_interrupt(signal.default_int_handler)
        say(
            f"rebooting into stage 2 in {REBOOT_DELAY_S} s; Ctrl-C keeps the device running, and balena-migrate undo "
            "rolls everything back"
        )
        time.sleep(REBOOT_DELAY_S)
    except KeyboardInterrupt:
        return False
    finally:
        on_interrupt(signal.SIG_IGN)  # the reboot ends us, but not before we have said so
    return True


def on_interrupt(handler: Any) -> None:
    """What happens from now on at Ctrl-C or kill."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def start_reboot(system: System, argument: str) -> None:
    """The system goes down. Where that is refused, every change is rolled back, and CommandError is raised."""
    # Where systemd is installed and another init runs, systemctl finds nobody who would reboot the machine.
    plain = ["systemctl", "reboot"] if system.runs_systemd else ["reboot"]
    try:
        system.run(["reboot", argument] if argument else plain)
    except CommandError:
        journal.undo(system, say)
        raise
