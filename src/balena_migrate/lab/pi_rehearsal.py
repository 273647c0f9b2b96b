"""Rehearsals on virtual Raspberry Pis: the whole migration, the way back, and power cuts."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.errors import LabError
from balena_migrate.kit.build import build_kit
from balena_migrate.lab.disks import copy_disk, mounted
from balena_migrate.lab.lookalike import ImageSpec, Report, build_image, expected_boot_files, parse_report
from balena_migrate.lab.pi_cards import BOOT, ROOT, PiGuest, build_card, resource
from balena_migrate.lab.pi_device import LINE, PiDevice
from balena_migrate.lab.pi_firmware import FatImage, Start
from balena_migrate.lab.result import Check, Rehearsal, Step, same
from balena_migrate.paths import INITRAMFS_NAME

START_TIMEOUT_S = 600.0
"""One start: stage 1, stage 2, or a system that comes up. QEMU translates, and the machine may be busy."""

HOME = "opt/migration"
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PiScenario:
    """A rehearsal: `cut` is a text on the serial line of the start `cut_start`, at which the power goes."""

    name: str
    description: str
    guest: PiGuest
    image: ImageSpec
    no_flash: bool = False
    cut: str = ""
    cut_start: int = 0


def rehearse(scenario: PiScenario, cache: Path, work: Path, progress: Progress) -> Rehearsal:
    """Runs the scenario in the empty folder `work`. Raises LabError where a virtual device gets stuck."""
    device = _set_up(scenario, cache, work, progress)
    before = _boot_partition(device), device.next_start()
    if scenario.cut:
        checks, steps = _power_cut(scenario, device, before, progress)
    elif scenario.no_flash:
        checks, steps = _come_back(device, before, progress)
    else:
        checks, steps = _migrate(scenario, device, cache, progress)
    return Rehearsal(
        scenario=scenario.name,
        description=scenario.description,
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        timeline=tuple(steps),
        serial_logs=tuple(log.name for log in device.logs),
    )


def _set_up(scenario: PiScenario, cache: Path, work: Path, progress: Progress) -> PiDevice:
    """A card of its own, with kit, image and settings on the old system's root."""
    guest = scenario.guest
    made, image = build_card(guest, cache, progress), build_image(scenario.image, cache, progress)
    kit = build_kit(guest.architecture, work / "kit", cache, progress)
    card = work / "card.img"
    copy_disk(made, card)
    progress("putting kit, image and settings on the card")
    with mounted(card, ROOT) as root:
        shutil.copytree(kit.path, root / "opt/balena-migrate", symlinks=True)
        (root / HOME).mkdir()
        shutil.copy(image, root / HOME)
        (root / "etc/balena-migrate.conf").write_text(_settings(scenario, image.name))
        (root / "root/lab.sh").write_text(resource("pi_lab.sh"))
    shutil.rmtree(kit.path)
    return PiDevice(guest, card, work)


def _settings(scenario: PiScenario, image_name: str) -> str:
    flash = "TRUE" if scenario.no_flash else "FALSE"
    lines = (f'HOME_DIR="/{HOME}"', f'IMAGE_NAME="{image_name}"', f"NO_FLASH={flash}", "UNTESTED=TRUE")
    return "".join(f"{line}\n" for line in lines)


def _boot_partition(device: PiDevice) -> dict[str, str]:
    """Name -> SHA-256 of every file on the boot partition but our initramfs, which stays until undo."""
    fat = FatImage(device.card, BOOT.start_bytes)
    names = [name for name in fat.names if not name.startswith(INITRAMFS_NAME)]
    return {name: hashlib.sha256(fat.read(name)).hexdigest() for name in names}


def _stage1(device: PiDevice, progress: Progress) -> tuple[Check, Step]:
    progress("start 1: the old system, stage 1")
    begin = device.now_s()
    said = device.run_to_end(START_TIMEOUT_S)
    status = re.search(r"lab: stage 1 ended with status (\d+)", said)
    if status is None or status[1] != "0":
        raise LabError("stage 1 failed", hint=said[-3000:])
    step = Step(step="stage 1", start_s=begin, seconds=device.now_s() - begin)
    return same("what starts next", (INITRAMFS_NAME,), device.next_start().initramfs), step


def _migrate(scenario: PiScenario, device: PiDevice, cache: Path, progress: Progress) -> tuple[list[Check], list[Step]]:
    check, step = _stage1(device, progress)
    begin = device.now_s()
    progress("start 2: stage 2")
    said = device.run_to_end(START_TIMEOUT_S)
    stage2 = Step(step="stage 2", start_s=begin, seconds=device.now_s() - begin)
    checks = [check, same("stage 2 comes to the end of the flash", True, "step flash done" in said)]
    begin = device.now_s()
    progress("start 3: the new system")
    report = parse_report(device.run_to_end(START_TIMEOUT_S))
    checks += _check_report(scenario, report, cache)
    new = Step(step="new system", start_s=begin, seconds=device.now_s() - begin)
    return checks, [step, stage2, new]


def _check_report(scenario: PiScenario, report: Report, cache: Path) -> list[Check]:
    """The new system, by its own words: its partitions are whole and its boot partition is the image's."""
    found = {file.path: file.sha256 for file in report.boot_files}
    wanted = expected_boot_files(scenario.image, cache)
    different = sorted(path for path in wanted if path != "config.json" and found.get(path) != wanted[path])
    damaged = sorted(part.label for part in report.partitions if part.check_status not in (0, 1))
    backup = [file.path for file in report.data_files if file.path == "backup.tgz"]
    return [
        same("files of the image that differ on resin-boot", [], different),
        same("damaged file systems of the new system", [], damaged),
        same("the backup on resin-data", ["backup.tgz"], backup),
    ]


def _come_back(
    device: PiDevice, before: tuple[dict[str, str], Start], progress: Progress
) -> tuple[list[Check], list[Step]]:
    check, step = _stage1(device, progress)
    begin = device.now_s()
    progress("start 2: stage 2, and back to the old system")
    said = device.run_to_end(START_TIMEOUT_S)
    back = Step(step="stage 2 and back", start_s=begin, seconds=device.now_s() - begin)
    checks = [check, same("the old system goes on", True, "lab: started before" in said)]
    return checks + _as_before(device, before), [step, back]


def _as_before(device: PiDevice, before: tuple[dict[str, str], Start]) -> list[Check]:
    files, start = before
    return [
        same("the boot partition's files", json.dumps(files, indent=1), json.dumps(_boot_partition(device), indent=1)),
        same("what starts next", start, device.next_start()),
    ]


def _power_cut(
    scenario: PiScenario, device: PiDevice, before: tuple[dict[str, str], Start], progress: Progress
) -> tuple[list[Check], list[Step]]:
    begin = device.now_s()
    for _ in range(1, scenario.cut_start):
        _stage1(device, progress)
    progress(f"start {scenario.cut_start}: the power goes at {scenario.cut!r}")
    with device.started() as running:
        running.consoles[LINE].wait_for(scenario.cut, START_TIMEOUT_S)
        running.cut_power()
    cut = Step(step="until the cut", start_s=begin, seconds=device.now_s() - begin)
    checks = [same("what starts next", before[1], device.next_start())]
    begin = device.now_s()
    progress("the next start")
    said = device.run_to_end(START_TIMEOUT_S)
    checks.append(same("the old system is up", True, "lab: started before" in said))
    return checks, [cut, Step(step="old system", start_s=begin, seconds=device.now_s() - begin)]
