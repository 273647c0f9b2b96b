# SPDX-License-Identifier: Apache-2.0
"""Rehearsals on virtual Raspberry Pis: the whole migration, the way back, and power cuts, judged by the card."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.core.errors import LabError, MigrateError
from balena_migrate.core.journal import parse_journal
from balena_migrate.core.outcome import Ending, find_outcome
from balena_migrate.core.paths import INITRAMFS_NAME, JOURNAL
from balena_migrate.core.steps import Step, done
from balena_migrate.core.system import System
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.disks import copy_disk, mounted
from balena_migrate.workstation.lab.diskstate import find_disk_state
from balena_migrate.workstation.lab.expected import read_expected
from balena_migrate.workstation.lab.guests import DEBIAN_12
from balena_migrate.workstation.lab.lookalike import ImageSpec, Report, build_image, expected_boot_files, parse_report
from balena_migrate.workstation.lab.pi_cards import ROOT, ROOT_UUID, TABLE_ID, PiGuest, build_card, resource
from balena_migrate.workstation.lab.pi_device import ACCELERATOR, LAST_CHARACTERS, LINE, PiDevice
from balena_migrate.workstation.lab.pi_firmware import FatImage, Start
from balena_migrate.workstation.lab.prepare import Options, Prepared, put_image, put_kit, put_overlay, put_owner_files
from balena_migrate.workstation.lab.proofs import COMMAND_LINE, Armed, backups_on_disk, new_system_checks, read_backups
from balena_migrate.workstation.lab.qemu import read_version
from balena_migrate.workstation.lab.result import Check, DiskState, Fact, Rehearsal, same
from balena_migrate.workstation.lab.scenarios import Scenario
from balena_migrate.workstation.lab.timeline import Say, Timeline

START_TIMEOUT_S = 2400.0
"""One start: stage 1, stage 2, or a system that comes up. QEMU translates, and the machine may be busy."""

DISK_NAME = "card.img"
STARTED_BEFORE = "lab: started before"
STAGE1_ENDED = re.compile(r"lab: stage 1 ended with status (\d+)")


@dataclass(frozen=True, kw_only=True)
class PiScenario:
    """A rehearsal: with a `cut`, the power goes when that text is on the serial line of the start `cut_start`."""

    name: str
    description: str
    guest: PiGuest
    image: ImageSpec
    no_flash: bool = False
    cut: str = ""
    cut_start: int = 0


@dataclass(kw_only=True)
class PiRun:
    """A rehearsal while it goes on; what is found gathers here."""

    scenario: PiScenario
    device: PiDevice
    prepared: Prepared
    files: dict[str, str]
    """Name -> SHA-256 of the boot partition's files before anything was done."""
    start: Start
    """What the firmware started then."""
    disk_before: DiskState | None
    checks: list[Check] = field(default_factory=list)
    armed: Armed | None = None
    stage1_s: float | None = None


def rehearse(scenario: PiScenario, options: Options, folder: Path, cache: Path, say: Say) -> Rehearsal:
    """The scenario was run. `folder` has its serial logs, and with `keep` its card.

    A device that does not do what it should is a failed check; MigrateError is raised only where it cannot be built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / DISK_NAME
    try:
        run = _set_up(scenario, options, card, cache, say)
        try:
            _sequence(scenario)(run)
        except MigrateError as error:
            run.checks.append(
                Check(name="the rehearsal ran to its end", passed=False, expected="yes", found=str(error))
            )
        return _result(run)
    finally:
        if not options.keep:
            card.unlink(missing_ok=True)


def _sequence(scenario: PiScenario) -> Callable[[PiRun], None]:
    if scenario.cut:
        return cut_power
    return come_back if scenario.no_flash else migrate_to_new_system


def _set_up(scenario: PiScenario, options: Options, card: Path, cache: Path, say: Say) -> PiRun:
    """A card of its own, with the kit, the image and the owner's files on the old system's root."""
    made, image = build_card(scenario.guest, cache, say), build_image(scenario.image, cache, say)
    own_config = options.config_json.read_bytes() if options.config_json else None
    config = own_config or owner.config_json(scenario.image.device_type)
    flash = "TRUE" if scenario.no_flash else "FALSE"
    defaults = {**owner.default_settings(image.name), "DO_REBOOT": "FALSE", "NO_FLASH": flash}
    card.unlink(missing_ok=True)
    copy_disk(made, card)
    say("putting the kit, the image and the owner's files on the card")
    with mounted(card, ROOT) as root:
        put_kit(scenario.guest.architecture, root, cache, say)
        put_owner_files(root, owner.settings_text({**defaults, **options.settings}), config)
        put_image(image, root, 1.0)
        (root / "root/lab.sh").write_text(resource("pi_lab.sh"))
        put_overlay(options.overlay, root)
        expected = read_expected(root)
    device = PiDevice(scenario.guest, card, card.parent, Timeline(say))
    files = expected_boot_files(scenario.image, cache)
    return PiRun(
        scenario=scenario,
        device=device,
        prepared=Prepared(disk=card, root=ROOT, kernel=card, config_json=config, boot_files=files, expected=expected),
        files=_boot_files(device),
        start=device.next_start(),
        disk_before=find_disk_state(card),
    )


def _boot_files(device: PiDevice) -> dict[str, str]:
    """Name -> SHA-256 of every file on the boot partition but our initramfs, which stays until undo."""
    fat = device.boot_partition
    names = [name for name in fat.names if not name.startswith(INITRAMFS_NAME)]
    return {name: hashlib.sha256(fat.read(name)).hexdigest() for name in names}


def _result(run: PiRun) -> Rehearsal:
    timeline, guest = run.device.timeline, run.scenario.guest
    return Rehearsal(
        scenario=run.scenario.name,
        description=run.scenario.description,
        passed=bool(run.checks) and all(check.passed for check in run.checks),
        checks=tuple(run.checks),
        timeline=timeline.steps,
        serial_logs=tuple(log.name for log in run.device.logs),
        window_s=timeline.window_s,
        stage1_s=run.stage1_s,
        stage2_s=timeline.stage2_s,
        initramfs_bytes=run.armed.initramfs_bytes if run.armed else None,
        peak_memory_bytes=timeline.peak_memory_bytes,
        disk_before=run.disk_before,
        disk_after=find_disk_state(run.device.card),
        changes=run.armed.changes if run.armed else (),
        machine=(
            Fact(name="Board", value=f"{guest.board.name} (QEMU's {guest.machine})"),
            Fact(name="Firmware", value="a stand-in, which reads config.txt at every start"),
            Fact(name="Memory", value=f"{guest.memory_mib} MiB"),
            Fact(name="Kernel", value=f"Debian's {guest.kernel_package} ({guest.architecture})"),
            Fact(name="Emulator", value=read_version(guest.program)),
            *((Fact(name="Clock", value=f"counts instructions: {' '.join(guest.clock)}"),) if guest.clock else ()),
        ),
        accelerator=ACCELERATOR,
    )


# The sequences ------------------------------------------------------------------------------------------------------


def migrate_to_new_system(run: PiRun) -> None:
    """Old system, stage 1, stage 2, new system."""
    run.armed = armed = _stage1(run)
    with run.device.timeline.step("stage 2, from the firmware to its reboot"):
        said = run.device.run_to_end(START_TIMEOUT_S)
    if done(Step.FLASH) not in said:
        raise LabError("stage 2 did not flash", hint=said[-LAST_CHARACTERS:])
    with run.device.timeline.step("new system"):
        report = parse_report(run.device.run_to_end(START_TIMEOUT_S))
    run.checks += _new_system_checks(run, armed, report)


def come_back(run: PiRun) -> None:
    """Old system, stage 1, stage 2 up to the line, old system, with a boot partition as it was."""
    run.armed = _stage1(run)
    with run.device.timeline.step("stage 2, and back to the old system"):
        said = run.device.run_to_end(START_TIMEOUT_S)
    run.checks.append(same("the old system is up again", True, STARTED_BEFORE in said))
    run.checks.append(same("how stage 2 ended", Ending.NO_FLASH, _read_ending(run)))
    run.checks += _as_before(run)


def cut_power(run: PiRun) -> None:
    """The power goes; then the card starts the old system."""
    for _ in range(1, run.scenario.cut_start):
        run.armed = _stage1(run)
    with run.device.timeline.step("until the power cut"), run.device.started() as device:
        device.consoles[LINE].wait_for(run.scenario.cut, START_TIMEOUT_S)
        device.cut_power()
    run.checks += _as_before(run)
    with run.device.timeline.step("the old system, after the cut"):
        said = run.device.run_to_end(START_TIMEOUT_S)
    run.checks.append(same("the old system is up", True, STARTED_BEFORE in said))


# Their parts --------------------------------------------------------------------------------------------------------


def _stage1(run: PiRun) -> Armed:
    """Stage 1 ran at the old system's first start, and our initramfs is what starts next."""
    begin_s = run.device.timeline.now()
    with run.device.timeline.step("old system and stage 1"):
        said = run.device.run_to_end(START_TIMEOUT_S)
    status = STAGE1_ENDED.search(said)
    if status is None or status[1] != "0":
        raise LabError("stage 1 failed", hint=said[-LAST_CHARACTERS:])
    run.stage1_s = round(run.device.timeline.now() - begin_s, 3)
    start = run.device.next_start()
    run.checks.append(same("the initramfs that starts next", (INITRAMFS_NAME,), start.initramfs))
    run.checks.append(same("the kernel that starts next", run.start.kernel, start.kernel))
    return _look_at_armed_card(run)


def _look_at_armed_card(run: PiRun) -> Armed:
    """What stage 1 left on the card."""
    size = len(run.device.boot_partition.read(INITRAMFS_NAME))
    with mounted(run.device.card, ROOT, read_only=True) as root:
        journal = parse_journal((root / JOURNAL.lstrip("/")).read_text())
        return Armed(
            backups=read_backups(root, run.prepared.expected.config),
            initramfs_bytes=size,
            changes=tuple(entry.title for entry in journal.entries if entry.title),
        )


def _read_ending(run: PiRun) -> str:
    """What stage 2 left on the old system's root; "" where it left nothing."""
    with mounted(run.device.card, ROOT, read_only=True) as root:
        outcome = find_outcome(System(root))
    return outcome.ending if outcome else ""


def _as_before(run: PiRun) -> list[Check]:
    now = _boot_files(run.device)
    changed = sorted(name for name in {*run.files, *now} if run.files.get(name) != now.get(name))
    return [
        same("files of the boot partition that are not as they were", [], changed),
        same("what starts next", run.start, run.device.next_start()),
    ]


def _new_system_checks(run: PiRun, armed: Armed, report: Report) -> list[Check]:
    """As on every device, but that the firmware's command line names no root: the look-alike finds its own."""
    about = Scenario(
        name=run.scenario.name,
        description="",
        guest=replace(DEBIAN_12, root_uuid=ROOT_UUID),
        image=run.scenario.image.name,
    )
    boot = report.find_partition("resin-boot")
    if boot is None:
        raise LabError("the new system has no resin-boot")
    fat = FatImage(run.device.card, boot.start_bytes)
    with backups_on_disk(run.device.card, armed, report) as backups:
        checks = new_system_checks(about, run.prepared, armed, report, fat.read, backups)
        kept = [check for check in checks if check.name != COMMAND_LINE]
    old = TABLE_ID.removeprefix("0x")
    return [*kept, same("the old system's disk in the new system's command line", False, old in report.command_line)]
