# SPDX-License-Identifier: Apache-2.0
"""The acts of a rehearsal. Each yields what it found, as checks.

An act starts from a device that is off, or on which the previous act left the old system running.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from balena_migrate.core.changes import ActionName, begun
from balena_migrate.core.errors import LabError
from balena_migrate.core.handover import TermExit
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.core.steps import Step, started
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.bootentries import armed_checks, new_entry_checks
from balena_migrate.workstation.lab.console import Console, Shell
from balena_migrate.workstation.lab.damage import Damage
from balena_migrate.workstation.lab.disks import mounted, read_partitions
from balena_migrate.workstation.lab.fault import Fault, with_faults
from balena_migrate.workstation.lab.leftdisk import left_disk_checks
from balena_migrate.workstation.lab.lookalike import Report, parse_report
from balena_migrate.workstation.lab.machines.raspberrypi.firmware import FatImage
from balena_migrate.workstation.lab.proofs import backups_on_disk, machine_id_check, new_system_checks, on_new_disk
from balena_migrate.workstation.lab.result import Check, matches, same
from balena_migrate.workstation.lab.run import PROGRAM, Run
from balena_migrate.workstation.lab.snapshot import file_hash
from balena_migrate.workstation.lab.timeline import STAGE2_LINE
from balena_migrate.workstation.lab.variables import forget_next, read_boot_variables
from balena_migrate.workstation.lab.virtual import RESET, SHUTDOWN

STAGE1_TIMEOUT_S = 3600.0
STAGE2_TIMEOUT_S = 3600.0
REPORT_TIMEOUT_S = 1800.0
OWN_IMAGE_TIMEOUT_S = 120.0
"""How long to wait for a report from a user's own image, which usually sends none."""
COMMAND_TIMEOUT_S = 1800.0

REBOOTING = r"rebooting into stage 2 in \d+ s"
STAGE1_ENDED = r"stage 1 ended with status (\d+)"
STAGE2_REBOOTS = rf"balena-migrate: \[[0-9.]+\] {started(Step.REBOOT)}"
STAGE2_COMES_BACK = r"balena-migrate: \[[0-9.]+\] going back to the old system: ([^\n]*)"
SIGN_OF_A_SYSTEM = r"(?m)^(?!.*(?:GRUB|error:|Booting|Loading|SeaBIOS|iPXE|rescue)).*\w.*\n"
"""A line that neither the firmware nor a boot loader prints."""
REPORT_BEGINS = "balena-migrate-report begin"
SHOWN_LINES = 20
HANG_S = 20.0
"""How long a device that hangs is watched."""
LAST_CHARACTERS = 1500


class Act(Protocol):
    def play(self, run: Run) -> Iterator[Check]:
        """Play the act. Raises LabError if the device gets stuck in it."""


@dataclass(frozen=True, kw_only=True)
class Stage1:
    """`run` succeeds in the old system and the device reboots; with `stays`, it stays up for the next act."""

    stays: bool = False

    def play(self, run: Run) -> Iterator[Check]:
        run.old_system()
        with run.timeline.step("stage 1"):
            start_s = run.timeline.now()
            begin_stage1(run)
            found = run.on.console.wait_for(f"{REBOOTING}|{STAGE1_ENDED}", STAGE1_TIMEOUT_S)
            run.record.stage1_s = round(run.timeline.now() - start_s, 3)
        if found[1] not in (None, "0"):
            raise LabError(f"stage 1 ended with status {found[1]}", hint=run.on.console.text[-LAST_CHARACTERS:])
        run.record.left = run.may_be_left()
        if self.stays:
            yield same("stage 1 leaves the device running", "0", found[1])
            return
        with run.timeline.step("reboot"):
            reason = run.reboot() if found[1] else run.wait_off()
        yield same("the device reboots after stage 1", RESET, reason)
        run.record.armed = run.look_at_armed_disk()
        yield from self._next_boot_checks(run)

    def _next_boot_checks(self, run: Run) -> Iterator[Check]:
        """Check what the firmware starts next, if that can be read from the disk or from the firmware's variables."""
        before, now = run.record.before.variables, read_boot_variables(run.prepared.disk)
        if before and now:
            yield from armed_checks(before, now, by_firmware=bool(run.prepared.boot_fat) and not run.config.no_setup)
        next_boot = run.prepared.machine.next_boot(run.prepared.disk)
        if next_boot and run.record.before.next_boot:
            ours = run.record.before.next_boot.initramfs if run.config.no_setup else (INITRAMFS_NAME,)
            yield same("initramfs of the next boot", ours, next_boot.initramfs)
            yield same("kernel of the next boot", run.record.before.next_boot.kernel, next_boot.kernel)


IMAGE_PROGRESS = r"(?m)^image: \d+ %"
"""How the progress of reading the image begins."""


def begin_stage1(run: Run) -> None:
    """Start stage 1. It prints to the console, so that one log has everything; the shell stays free."""
    command = f"( {{ {PROGRAM} run </dev/null; echo stage 1 ended with status $?; }} 2>&1 | cat >/dev/console & )"
    run.old_system().run(command, timeout_s=60)


@dataclass(frozen=True, kw_only=True)
class Stage2:
    """Stage 2 flashes the disk and the device reboots; with `comes_back`, it returns to the old system instead.

    `memory_mib` is the device's memory from now on; `shows` is a pattern that must appear on the console.
    """

    comes_back: bool = False
    memory_mib: int | None = None
    shows: str = ""

    def play(self, run: Run) -> Iterator[Check]:
        with run.timeline.step("stage 2, from power-on to its end"):
            line = run.switch_on(self.memory_mib).console
            found = line.wait_for(f"{STAGE2_REBOOTS}|{STAGE2_COMES_BACK}", STAGE2_TIMEOUT_S)
            if found[1] is not None and not self.comes_back:
                raise LabError(f"stage 2 returned to the old system: {found[1]}")
            if self.shows:
                yield same(
                    f"the console shows {self.shows!r}", expected=True, found=bool(re.search(self.shows, line.text))
                )
            if not self.comes_back or run.config.term_exit is TermExit.REBOOT:
                run.wait_off(STAGE2_TIMEOUT_S)
        if self.comes_back:
            yield same("stage 2 returns to the old system", expected=True, found=found[1] is not None)
        elif run.prepared.content is not None:
            yield from left_disk_checks(
                run.prepared.disk, run.prepared.device.image, grown=run.prepared.expect.grows_data
            )


@dataclass(frozen=True, kw_only=True)
class NewSystem:
    """The new system boots, reports, and has everything; a user's own image only has to print something."""

    def play(self, run: Run) -> Iterator[Check]:
        with run.timeline.step("new system"):
            line = run.switch_on().console
            if run.prepared.content is None:
                yield shows_itself(line)
                if line.find(REPORT_BEGINS, OWN_IMAGE_TIMEOUT_S) is None:
                    return
            reason = run.wait_off(REPORT_TIMEOUT_S)
        yield same("the new system boots, reports and powers itself off", SHUTDOWN, reason)
        yield from report_checks(run, parse_report(line.text))


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What is on the console since the device was switched on matches the pattern."""

    pattern: str

    def play(self, run: Run) -> Iterator[Check]:
        yield matches("console of the new system", self.pattern, run.on.console.text)


def shows_itself(line: Console) -> Check:
    """Judge a user's own image by its serial console."""
    found = line.find(SIGN_OF_A_SYSTEM, REPORT_TIMEOUT_S)
    shown = [text.strip() for text in line.text.splitlines() if text.strip()]
    return Check(
        name="the image's system prints to the serial console",
        passed=found is not None,
        expected="output of a kernel or a system",
        found="\n".join(shown[:SHOWN_LINES]) or "nothing: does its kernel command line have a console= argument?",
    )


def report_checks(run: Run, report: Report) -> Iterator[Check]:
    """Compare the new system's report, and its disk, with what is expected."""
    boot, disk = report.find_partition("resin-boot"), run.prepared.disk
    if boot is None or run.record.armed is None:
        raise LabError("the new system has no resin-boot partition")
    with backups_on_disk(disk, run.record.armed, report) as backups:
        yield from new_system_checks(
            run.prepared, run.record.armed, report, FatImage(disk, boot.start_bytes).read, backups
        )
    before, now = run.record.before.variables, read_boot_variables(disk)
    label = run.prepared.device.image.boot_entry
    if before and now and run.prepared.expect.boot_entry:
        yield from new_entry_checks(before, now, disk, label, report.boot_entries)
    elif now:
        yield same("boot entry of the new system, which starts by the fallback path", None, now.find(label))
    if run.prepared.expect.machine_id:
        with on_new_disk(disk, report, "resin-state") as state:
            yield machine_id_check(run.prepared.expect.machine_id, state)


@dataclass(frozen=True, kw_only=True)
class OldSystem:
    """The old system is up, its files and its next boot are unchanged; with `at_once`, it came up without stage 2."""

    at_once: bool = False

    def play(self, run: Run) -> Iterator[Check]:
        run.old_system()
        if self.at_once:
            found = STAGE2_LINE.search(run.on.console.text)
            silence = "no line of stage 2 on the console"
            yield same("the old system boots without stage 2", silence, found[0] if found else silence)
        run.power_off()
        yield from run.old_system_checks()


@dataclass(frozen=True, kw_only=True)
class Refused:
    """`check` and `run` refuse with this finding."""

    finding: str

    def play(self, run: Run) -> Iterator[Check]:
        shell = run.old_system()
        with run.timeline.step("check"):
            text = shell.run(f"{PROGRAM} check --json 2>/dev/null", timeout_s=COMMAND_TIMEOUT_S, ok=(1,))
        with run.timeline.step("stage 1"):
            shell.run(f"{PROGRAM} run >/dev/null 2>&1", timeout_s=COMMAND_TIMEOUT_S, ok=(1,))
        found = {item["code"]: item["cause"] for item in json.loads(text)["findings"] if item["severity"] == "blocker"}
        yield Check(
            name="finding that blocks the migration",
            passed=self.finding in found,
            expected=self.finding,
            found="; ".join(f"{code}: {cause}" for code, cause in found.items()) or "none",
        )


MEMORY_NEED = r"= (\d+) MiB of memory; this device has (\d+) MiB"
"""How `check` ends its arithmetic."""
MEMORY_TOO_SMALL = "memory-too-small"
GROWN_DATA = "srv/depot/archive"
"""What grows until memory is full: it cannot be compressed."""


@dataclass(frozen=True, kw_only=True)
class DataGrow:
    """The owner's data are as much as `check` accepts, to the MiB, and `beyond_mib` more."""

    beyond_mib: int = 0

    def play(self, run: Run) -> Iterator[Check]:
        shell = run.old_system()
        run.record.left = (GROWN_DATA,)
        with run.timeline.step("the data grow"):
            most_mib, spare_mib = find_most(lambda size_mib: spare_memory(shell, size_mib))
            write_data(shell, most_mib + self.beyond_mib)
        yield Check(
            name="memory that is left beside the most data that `check` accepts",
            passed=spare_mib <= 1,
            expected="0 or 1 MiB",
            found=f"{spare_mib} MiB beside {most_mib} MiB of data",
        )


def find_most(find_spare: Callable[[int], int | None]) -> tuple[int, int]:
    """The largest size with a spare, and its spare; None says that a size is too large.

    The spare may grow again with the size, where the image has to be packed better for it.
    """
    most, spare = 0, find_spare(0)
    if spare is None:
        raise LabError("memory is too small even without data that grow")
    while (found := find_spare(most + max(1, spare))) is not None:
        most, spare = most + max(1, spare), found
    for size in range(most + spare - 1, most, -1):
        if (found := find_spare(size)) is not None:
            return size, found
    return most, spare


def spare_memory(shell: Shell, size_mib: int) -> int | None:
    """The MiB of memory that stage 2 does not need, by `check`, with so large data; None where it refuses them.

    Raises LabError where it does not say so.
    """
    write_data(shell, size_mib)
    text = shell.run(f"{PROGRAM} check --json 2>/dev/null", timeout_s=COMMAND_TIMEOUT_S, ok=(0, 1))
    findings = json.loads(text)["findings"]
    if any(item["code"] == MEMORY_TOO_SMALL for item in findings):
        return None
    found = [match for item in findings if (match := re.search(MEMORY_NEED, item["cause"]))]
    if len(found) != 1:
        raise LabError("`check` does not say how much memory stage 2 needs", hint=text[-LAST_CHARACTERS:])
    return int(found[0][2]) - int(found[0][1])


def write_data(shell: Shell, size_mib: int) -> None:
    """The data that grow are so large."""
    shell.run(f"head -c {size_mib}M /dev/urandom >/{GROWN_DATA}", timeout_s=COMMAND_TIMEOUT_S)


@dataclass(frozen=True, kw_only=True)
class CheckedTwice:
    """`check` accepts the device, and only the first one reads the image; how long both take is in the timeline."""

    def play(self, run: Run) -> Iterator[Check]:
        shell, reads = run.old_system(), []
        for title in ("check", "check again"):
            with run.timeline.step(title):
                text = shell.run(f"{PROGRAM} check </dev/null 2>&1", timeout_s=STAGE1_TIMEOUT_S)
            reads.append(re.search(IMAGE_PROGRESS, text) is not None)
        yield same("whether each of the two checks reads the image", [True, False], reads)


@dataclass(frozen=True, kw_only=True)
class Fails:
    """`run` fails and takes back what it had changed; `shows` is a pattern that its output must match."""

    shows: str

    def play(self, run: Run) -> Iterator[Check]:
        shell = run.old_system()
        with run.timeline.step("stage 1"):
            text = shell.run(f"{PROGRAM} run </dev/null 2>&1", timeout_s=STAGE1_TIMEOUT_S, ok=(3,))
        yield matches("why stage 1 fails", self.shows, text)


@dataclass(frozen=True, kw_only=True)
class PowerCut:
    """The power is cut as soon as stage 2 begins this step, or stage 1 this change."""

    at: Step | ActionName

    @property
    def announcement(self) -> str:
        """What the console shows at that moment."""
        return started(self.at) if isinstance(self.at, Step) else begun(self.at)

    def play(self, run: Run) -> Iterator[Check]:
        with run.timeline.step(f"until the power cut: {self.at}"):
            if isinstance(self.at, Step):
                run.switch_on()
            else:
                begin_stage1(run)
                run.record.left = run.may_be_left()
            run.on.console.wait_for(re.escape(self.announcement), STAGE2_TIMEOUT_S)
            run.cut_power()
        yield from run.next_boot_checks()


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """The initramfs of stage 2 is damaged while the device is off."""

    how: Damage

    def play(self, run: Run) -> Iterator[Check]:
        with run.timeline.step(f"damage: {self.how}"):
            run.damage_initramfs(self.how)
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """Something goes wrong in a step of stage 2, whose initramfs is changed for it while the device is off."""

    step: Step
    fault: Fault

    def play(self, run: Run) -> Iterator[Check]:
        run.change_initramfs(lambda initramfs, _: with_faults(initramfs, f"{self.step}={self.fault}"))
        yield from ()


@dataclass(frozen=True, kw_only=True)
class KernelDamaged:
    """The copy of the kernel that UEFI firmware starts is damaged while the device is off."""

    how: Damage

    def play(self, run: Run) -> Iterator[Check]:
        with run.timeline.step(f"damage of the kernel: {self.how}"):
            run.damage_kernel(self.how)
        yield from ()


@dataclass(frozen=True, kw_only=True)
class BootNextForgotten:
    """The firmware loses BootNext while the device is off, as one does that takes no notice of it."""

    def play(self, run: Run) -> Iterator[Check]:
        forget_next(run.prepared.disk)
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Stage2Dies:
    """The next start ends in a reboot, without a flash; `shows` is a pattern that must appear on the console."""

    shows: str

    def play(self, run: Run) -> Iterator[Check]:
        with run.timeline.step("a start that fails"):
            line = run.switch_on().console
            line.wait_for(self.shows, STAGE2_TIMEOUT_S)
            reason = run.wait_off(STAGE2_TIMEOUT_S)
        yield same("the device reboots by itself", RESET, reason)
        yield from run.next_boot_checks()


@dataclass(frozen=True, kw_only=True)
class Hangs:
    """The next start comes to what matches `shows` and no further, until the power is cut."""

    shows: str

    def play(self, run: Run) -> Iterator[Check]:
        with run.timeline.step("a start that hangs"):
            line = run.switch_on().console
            line.wait_for(self.shows, STAGE2_TIMEOUT_S)
            followed = line.find(r"\S", HANG_S)
            run.cut_power()
        yield same("output in the time after that", "none", followed[0] if followed else "none")
        yield from run.next_boot_checks()


@dataclass(frozen=True, kw_only=True)
class FallsBack:
    """The next start leads to the old system without a reboot; `shows` is a pattern that must be on the console."""

    shows: str

    def play(self, run: Run) -> Iterator[Check]:
        run.old_system()
        yield matches("why stage 2 is not started", self.shows, run.on.console.text)


@dataclass(frozen=True, kw_only=True)
class Undo:
    """`undo` succeeds in the old system, and the device reboots; nothing of stage 1 is left."""

    def play(self, run: Run) -> Iterator[Check]:
        shell = run.old_system()
        with run.timeline.step("undo"):
            shell.run(f"{PROGRAM} undo 2>&1", timeout_s=COMMAND_TIMEOUT_S)
        run.record.left = ()
        yield same("the device reboots after undo", RESET, run.reboot())


@dataclass(frozen=True, kw_only=True)
class Status:
    """`status` in the old system reports this state and, if given, the `step` in which stage 2 failed."""

    state: DeviceState
    step: Step | None = None

    def play(self, run: Run) -> Iterator[Check]:
        status = json.loads(run.old_system().run(f"{PROGRAM} status --json", timeout_s=COMMAND_TIMEOUT_S))
        yield same("balena-migrate status", self.state, status["state"])
        if self.step:
            result = status["stage2_result"] or {}
            reason = result.get("reason", "")
            yield same("failed step of stage 2", self.step, result.get("step", ""))
            yield Check(name="reason of the failure", passed=bool(reason), expected="a reason", found=reason or "none")


@dataclass(frozen=True, kw_only=True)
class Shows:
    """A command in the old system prints text that matches the pattern."""

    command: str
    pattern: str

    def play(self, run: Run) -> Iterator[Check]:
        text = run.old_system().run(self.command, timeout_s=COMMAND_TIMEOUT_S)
        yield matches(f"output of {self.command!r}", self.pattern, text)


@dataclass(frozen=True, kw_only=True)
class OtherDisk:
    """The other disk is the same to the byte; read while the device is off."""

    def play(self, run: Run) -> Iterator[Check]:
        disk, before = run.prepared.other_disk, run.record.before.other_disk
        if disk is None:
            raise LabError("there is no other disk")
        yield same("the other disk, of the same size and model: SHA-256", before, file_hash(disk))


@dataclass(frozen=True, kw_only=True)
class LogDrive:
    """The log drive contains stage 2's log, which matches the pattern."""

    pattern: str

    def play(self, run: Run) -> Iterator[Check]:
        *_, drive = run.prepared.drives
        (span,) = read_partitions(drive)
        with mounted(drive, span, read_only=True) as folder:
            texts = [path.read_text() for path in folder.glob("*.log")]
        found = re.search(self.pattern, texts[0] if texts else "")
        shown = found[0] if found else "\n".join(texts)[-LAST_CHARACTERS:]
        yield Check(name="stage 2's log on LOG_DRIVE", passed=bool(found), expected=self.pattern, found=shown)
