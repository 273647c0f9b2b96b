# SPDX-License-Identifier: Apache-2.0
"""Runs a scenario to its end: stage 1 in the running guest, then whatever the disk boots, until the proof is there."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from balena_migrate.core.errors import LabError, MigrateError
from balena_migrate.core.handover import TermExit
from balena_migrate.core.journal import parse_journal
from balena_migrate.core.paths import INITRAMFS_NAME, JOURNAL, STAGE2_CONFIG
from balena_migrate.core.steps import Step, started
from balena_migrate.core.system import System
from balena_migrate.settings import Config
from balena_migrate.status import Standing
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.console import Shell
from balena_migrate.workstation.lab.device import Boot, VirtualDevice, pc_board
from balena_migrate.workstation.lab.disks import mounted, read_partitions
from balena_migrate.workstation.lab.diskstate import find_disk_state
from balena_migrate.workstation.lab.leftdisk import left_disk_checks
from balena_migrate.workstation.lab.lookalike import Report, find_spec, parse_report
from balena_migrate.workstation.lab.prepare import KIT_FOLDER, Options, Prepared, prepare
from balena_migrate.workstation.lab.proofs import (
    Armed,
    backup_names,
    backups_on_disk,
    machine_id_check,
    new_system_checks,
    on_new_disk,
    read_backups,
)
from balena_migrate.workstation.lab.qemu import find_accelerator, read_version
from balena_migrate.workstation.lab.result import Check, DiskState, Fact, Rehearsal, ran_to_its_end, same
from balena_migrate.workstation.lab.scenarios import Ending, Scenario
from balena_migrate.workstation.lab.snapshot import find_changes, read_tree
from balena_migrate.workstation.lab.timeline import Say, Timeline

STAGE1_TIMEOUT_S = 3600.0
STAGE2_TIMEOUT_S = 3600.0
REPORT_TIMEOUT_S = 1800.0
OWN_IMAGE_TIMEOUT_S = 120.0
"""How long a user's own image may go on showing what it has to show."""
COMMAND_TIMEOUT_S = 1800.0

PROGRAM = f"/{KIT_FOLDER}/balena-migrate"
REBOOTING = r"rebooting into stage 2 in \d+ s"
STAGE1_ENDED = r"stage 1 ended with status (\d+)"
STAGE2_REBOOTS = rf"balena-migrate: \[[0-9.]+\] {started(Step.REBOOT)}"
STAGE2_COMES_BACK = r"balena-migrate: \[[0-9.]+\] going back to the old system: ([^\n]*)"
SIGN_OF_A_SYSTEM = r"(?m)^(?!.*(?:GRUB|error:|Booting|Loading|SeaBIOS|iPXE|rescue)).*\w.*\n"
"""A line that neither the firmware nor a boot loader wrote."""
REPORT_BEGINS = "balena-migrate-report begin"
SHOWN_LINES = 20

LEFT_BY_NO_FLASH = (f"boot/{INITRAMFS_NAME}", STAGE2_CONFIG.lstrip("/"))
"""What a run leaves for `undo` until then, besides its own folder and the backup. No file of the boot loader."""


@dataclass(kw_only=True)
class Run:
    """A rehearsal while it goes on; what is found gathers here."""

    scenario: Scenario
    options: Options
    prepared: Prepared
    device: VirtualDevice
    checks: list[Check] = field(default_factory=list)
    stage1_s: float | None = None
    armed: Armed | None = None

    @property
    def timeline(self) -> Timeline:
        return self.device.timeline

    @property
    def memory_mib(self) -> int:
        return self.options.memory_mib or self.scenario.memory_mib

    @property
    def config(self) -> Config:
        """The settings that are on the device."""
        return self.prepared.expected.config


def rehearse(scenario: Scenario, options: Options, folder: Path, cache: Path, say: Say) -> Rehearsal:
    """The scenario was run. `folder` has its serial logs, and with `keep` its disk.

    A device that does not do what it should is a failed check; MigrateError is raised only where it cannot be built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _disk_folder(folder, options.keep) as disks:
        prepared = prepare(scenario, options, disks, cache, say)
        device = VirtualDevice(
            disk=prepared.disk, board=pc_board(prepared.kernel), folder=folder, timeline=Timeline(say)
        )
        for log in device.logs.values():
            log.unlink(missing_ok=True)
        run = Run(scenario=scenario, options=options, prepared=prepared, device=device)
        before = find_disk_state(prepared.disk)
        try:
            SEQUENCES[_ending(run)](run)
        except (MigrateError, OSError, ValueError) as error:
            # The last two: a file that should be on its disk is not, or what it printed is no JSON.
            run.checks.append(ran_to_its_end(str(error)))
        return _result(run, before)


def _ending(run: Run) -> Ending:
    """How it has to end: as the scenario says, unless the user's settings forbid the flash."""
    stays = run.config.no_flash or run.config.no_setup
    return Ending.OLD_SYSTEM if stays and run.scenario.ending is Ending.NEW_SYSTEM else run.scenario.ending


@contextlib.contextmanager
def _disk_folder(folder: Path, keep: bool) -> Iterator[Path]:
    """Where the disk is: gone afterwards, unless it is to be kept."""
    if keep:
        (folder / "disk.img").unlink(missing_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="disk-", dir=folder) as name:
            yield Path(name)


def _result(run: Run, before: DiskState | None) -> Rehearsal:
    timeline = run.timeline
    return Rehearsal(
        scenario=run.scenario.name,
        description=run.scenario.description,
        passed=bool(run.checks) and all(check.passed for check in run.checks),
        checks=tuple(run.checks),
        timeline=timeline.steps,
        serial_logs=tuple(log.name for log in run.device.logs.values() if log.exists()),
        window_s=timeline.window_s,
        stage1_s=run.stage1_s,
        stage2_s=timeline.stage2_s,
        initramfs_bytes=run.armed.initramfs_bytes if run.armed else None,
        peak_memory_bytes=timeline.peak_memory_bytes,
        disk_before=before,
        disk_after=find_disk_state(run.prepared.disk),
        changes=run.armed.changes if run.armed else (),
        machine=_machine(run),
        accelerator=find_accelerator(run.prepared.kernel),
    )


def _machine(run: Run) -> tuple[Fact, ...]:
    board = run.device.board(run.prepared.disk, run.memory_mib)
    return (
        Fact(name="Machine", value=f"{board[board.index('-machine') + 1]}, with SeaBIOS"),
        Fact(name="Processors", value=board[board.index("-smp") + 1]),
        Fact(name="Memory", value=f"{run.memory_mib} MiB"),
        Fact(name="Emulator", value=read_version(board[0])),
    )


# The sequences ------------------------------------------------------------------------------------------------------


def migrate_to_new_system(run: Run) -> None:
    """Old system, stage 1, reboot, stage 2, reboot, new system."""
    _run_stage1(run)
    run.armed = armed = _look_at_armed_disk(run)
    with run.timeline.step("stage 2, from the firmware to its reboot"), _second_boot(run) as boot:
        _wait_for_flash(boot)
    if run.options.image is None:
        image = find_spec(run.scenario.image)
        run.checks.extend(left_disk_checks(run.device.disk, image, grown=run.scenario.grows_data))
    with run.timeline.step("new system"), run.device.on(run.memory_mib) as boot:
        if run.options.image is not None and not _shows_itself(run, boot):
            return
        reason = boot.wait_off(REPORT_TIMEOUT_S)
        text = boot.console.text
    run.checks.append(same("the new system boots, reports, and switches itself off", "guest-shutdown", reason))
    report = parse_report(text)
    with backups_on_disk(run.device.disk, armed, report) as backups:
        read_boot = _boot_reader(run.device.disk, report)
        run.checks.extend(new_system_checks(run.scenario, run.prepared, armed, report, read_boot, backups))
    if run.scenario.machine_id:
        with on_new_disk(run.device.disk, report, "resin-state") as state:
            run.checks.append(machine_id_check(run.scenario.machine_id, state))


def come_back(run: Run) -> None:
    """Old system, stage 1, reboot, stage 2 up to the line, old system."""
    before = _snapshot(run)
    _run_stage1(run)
    run.armed = _look_at_armed_disk(run)
    with contextlib.ExitStack() as stack:
        with run.timeline.step("stage 2, and back to the old system"):
            boot = stack.enter_context(_second_boot(run))
            if run.config.term_exit is TermExit.REBOOT and not run.config.no_setup:
                boot.wait_off(STAGE2_TIMEOUT_S)
                boot = stack.enter_context(run.device.on(run.memory_mib))
            shell = boot.log_in()
        status = json.loads(shell.run(f"{PROGRAM} status --json", timeout_s=COMMAND_TIMEOUT_S))
        boot.power_off()
    run.checks += _status_checks(run, status)
    run.checks.append(_unchanged(run, before, LEFT_BY_NO_FLASH))


def be_refused(run: Run) -> None:
    """Old system, stage 1 with its findings, and nothing else."""
    before = _snapshot(run)
    with run.device.on(run.memory_mib) as boot:
        with run.timeline.step("old system"):
            shell = boot.log_in()
        with run.timeline.step("check"):
            found = json.loads(_answer(shell, f"{PROGRAM} check --json", status=1))
        with run.timeline.step("stage 1"):
            _answer(shell, f"{PROGRAM} run", status=1)
        boot.power_off()
    codes = {item["code"]: item["cause"] for item in found["findings"] if item["severity"] == "blocker"}
    run.checks += [
        Check(
            name="the finding that refuses",
            passed=run.scenario.finding in codes,
            expected=run.scenario.finding,
            found="; ".join(f"{code}: {cause}" for code, cause in codes.items()) or "none",
        ),
        _unchanged(run, before, ()),
    ]


SEQUENCES: dict[Ending, Callable[[Run], None]] = {
    Ending.NEW_SYSTEM: migrate_to_new_system,
    Ending.OLD_SYSTEM: come_back,
    Ending.REFUSED: be_refused,
}


# Their parts --------------------------------------------------------------------------------------------------------


def _run_stage1(run: Run) -> None:
    """Stage 1 ran in the guest, and the guest rebooted itself. Raises LabError where it did not."""
    with run.device.on(run.memory_mib) as boot:
        with run.timeline.step("old system"):
            shell = boot.log_in()
        with run.timeline.step("stage 1"):
            start_s = run.timeline.now()
            # Its output goes to the console, so that one log tells the whole story; the shell stays free.
            shell.run(
                f"( {{ {PROGRAM} run </dev/null; echo stage 1 ended with status $?; }} 2>&1 | cat >/dev/ttyS0 & )",
                timeout_s=60,
            )
            found = boot.console.wait_for(f"{REBOOTING}|{STAGE1_ENDED}", STAGE1_TIMEOUT_S)
            run.stage1_s = round(run.timeline.now() - start_s, 3)
            if found[1] not in (None, "0"):
                raise LabError(f"stage 1 ended with status {found[1]}", hint=boot.console.text[-1500:])
        with run.timeline.step("reboot"):
            if found[1] == "0":
                boot.emulator.consoles["shell"].send("systemctl reboot\n")
            reason = boot.wait_off()
    run.checks.append(same("the device reboots after stage 1", "guest-reset", reason))


@contextlib.contextmanager
def _second_boot(run: Run) -> Iterator[Boot]:
    with run.device.on(run.scenario.stage2_memory_mib or run.memory_mib) as boot:
        yield boot


def _wait_for_flash(boot: Boot) -> None:
    """Stage 2 flashed the disk and the device reset itself. Raises LabError where it came back to the old system."""
    found = boot.console.wait_for(f"{STAGE2_REBOOTS}|{STAGE2_COMES_BACK}", STAGE2_TIMEOUT_S)
    if found[1] is not None:
        raise LabError(f"stage 2 came back to the old system: {found[1]}")
    boot.wait_off()


def _look_at_armed_disk(run: Run) -> Armed:
    """What stage 1 left on the disk, read while the device is off."""
    with mounted(run.device.disk, run.prepared.root, read_only=True) as root:
        journal = parse_journal((root / JOURNAL.lstrip("/")).read_text())
        return Armed(
            backups=read_backups(root, run.prepared.expected.config),
            initramfs_bytes=(root / "boot" / INITRAMFS_NAME).stat().st_size,
            changes=tuple(entry.title for entry in journal.entries if entry.title),
        )


def _shows_itself(run: Run, boot: Boot) -> bool:
    """Judges a user's own image by its serial port. Whether it is one that reports, so that there is more to come."""
    found = boot.console.find(SIGN_OF_A_SYSTEM, REPORT_TIMEOUT_S)
    reports = boot.console.find(REPORT_BEGINS, OWN_IMAGE_TIMEOUT_S) is not None
    shown = [line.strip() for line in boot.console.text.splitlines() if line.strip()]
    run.checks.append(
        Check(
            name="the image's system shows itself on the serial port",
            passed=found is not None,
            expected="words of a kernel or a system",
            found="\n".join(shown[:SHOWN_LINES]) or "nothing: is there a console= in its kernel's command line?",
        )
    )
    return reports


def _boot_reader(disk: Path, report: Report) -> Callable[[str], bytes]:
    boot = report.find_partition("resin-boot")
    if boot is None:
        raise LabError("the new system has no resin-boot")

    def read(path: str) -> bytes:
        return System().run(["mtype", "-i", f"{disk}{boot.start_bytes}", f"::/{path}"]).stdout

    return read


def _answer(shell: Shell, command: str, *, status: int) -> str:
    return shell.run(f"{command} 2>/dev/null", timeout_s=COMMAND_TIMEOUT_S, ok=(status,))


def _snapshot(run: Run) -> dict[str, str]:
    with mounted(run.device.disk, run.prepared.root, read_only=True) as root:
        return read_tree(root)


def _unchanged(run: Run, before: dict[str, str], may: tuple[str, ...]) -> Check:
    same_table = run.prepared.root == read_partitions(run.device.disk)[0]
    backups = (f"{owner.HOME_DIR}/{name}" for name in backup_names(run.config))
    changes = find_changes(before, _snapshot(run), (*may, *backups))
    return Check(
        name="the old system is unchanged",
        passed=same_table and not changes,
        expected="no change but our journal and the logs",
        found=", ".join(changes[:20]) or ("no change" if same_table else "another partition table"),
    )


def _status_checks(run: Run, status: dict[str, Any]) -> list[Check]:
    outcome = status["outcome"] or {}
    if not run.scenario.outcome_step:
        standing = Standing.PREPARED if run.config.no_setup else Standing.NO_FLASH
        return [same("balena-migrate status", standing, status["standing"])]
    reason = outcome.get("reason", "")
    return [
        same("balena-migrate status", Standing.FAILED, status["standing"]),
        same("the step of stage 2 that failed", run.scenario.outcome_step, outcome.get("step", "")),
        Check(name="its reason is kept", passed=bool(reason), expected="a reason", found=reason or "none"),
    ]
