# SPDX-License-Identifier: Apache-2.0
"""A rehearsal in progress: the device, which is on or off, and what is known about it so far."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.journal import parse_journal
from balena_migrate.core.paths import EFI_KERNEL_NAME, INITRAMFS_NAME, JOURNAL, STAGE2_CONFIG
from balena_migrate.settings import Config
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.bootentries import STAGE2_KERNEL
from balena_migrate.workstation.lab.console import Shell
from balena_migrate.workstation.lab.damage import Damage, damaged, damaged_file
from balena_migrate.workstation.lab.disks import mounted_system, read_partitions
from balena_migrate.workstation.lab.leaks import Secret
from balena_migrate.workstation.lab.machines import Start
from balena_migrate.workstation.lab.machines.raspberrypi.firmware import FatImage
from balena_migrate.workstation.lab.prepare import KIT_FOLDER, Prepared
from balena_migrate.workstation.lab.proofs import Armed, backup_names, read_backups
from balena_migrate.workstation.lab.result import Check, DiskState, TimelineStep, same
from balena_migrate.workstation.lab.snapshot import file_hash, find_changes, read_tree
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.variables import BootVariables, read_boot_variables
from balena_migrate.workstation.lab.virtual import BOOT_TIMEOUT_S, Boot, Moment, VirtualDevice
from balena_migrate.workstation.mtools import FatDrive

PROGRAM = f"/{KIT_FOLDER}/balena-migrate"
SHOWN_CHANGES = 20


@dataclass(frozen=True, kw_only=True)
class OldState:
    """The state that an old system must return to: its files and, where it can be read from the disk, its next boot."""

    files: dict[str, str]
    next_boot: Start | None
    variables: BootVariables | None = None
    """The boot entries of a firmware with UEFI."""
    other_disk: str = ""
    """The digest of the other disk; "" if there is none."""


@dataclass(kw_only=True)
class Record:
    """What is known about a device between two acts, while it is off; a rehearsal can continue from it."""

    prepared: Prepared
    before: OldState
    """Before the first power-on."""
    disk_before: DiskState | None
    secrets: tuple[Secret, ...] = ()
    """Of the old system's files, before the first power-on."""
    checks: list[Check] = field(default_factory=list)
    left: tuple[str, ...] = ()
    """New files that may exist by now."""
    armed: Armed | None = None
    stage1_s: float | None = None
    acts_played: int = 0
    stuck: bool = False
    """Whether the device got stuck in the next act."""
    steps: tuple[TimelineStep, ...] = ()
    now_s: float = 0.0


@dataclass(kw_only=True)
class Run:
    """A device that is on or off; what is found out about it goes into the record."""

    record: Record
    virtual: VirtualDevice
    _boot: Boot | None = None
    _shell: Shell | None = None
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    @property
    def prepared(self) -> Prepared:
        return self.record.prepared

    @property
    def timeline(self) -> Timeline:
        return self.virtual.timeline

    @property
    def config(self) -> Config:
        """The settings on the device."""
        return self.prepared.expected.config

    @property
    def on(self) -> Boot:
        """The device, which must be on."""
        assert self._boot is not None, "the device is off"
        return self._boot

    def switch_on(self, memory_mib: int | None = None) -> Boot:
        """Power the device on; it boots from its disk."""
        self._is_off()
        self._boot = self._held.enter_context(self.virtual.on(memory_mib or self.prepared.memory_mib))
        return self._boot

    def go_on_from(self, moment: Moment) -> Boot:
        """The device is on, and goes on from that moment of another one, of whose drives its own are copies."""
        self._is_off()
        self._boot = self._held.enter_context(self.virtual.on_from(moment))
        return self._boot

    def old_system(self) -> Shell:
        """A root shell in the running old system; the device is powered on first if it is off."""
        if self._shell is None:
            with self.timeline.step("old system"):
                self._shell = (self._boot or self.switch_on()).log_in()
        return self._shell

    def wait_off(self, timeout_s: float = BOOT_TIMEOUT_S) -> str:
        """Wait until the device goes off by itself; return the reason."""
        reason = self.on.wait_off(timeout_s)
        self._is_off()
        return reason

    def reboot(self) -> str:
        """Reboot the running old system cleanly; return the reason for which the device went off."""
        return self._leave(self.prepared.device.guest.reboot)

    def power_off(self) -> None:
        """Shut the running old system down cleanly."""
        self._leave(self.prepared.device.guest.power_off)

    def cut_power(self) -> None:
        """Cut the device's power."""
        self.on.emulator.cut_power()
        self._is_off()

    def _leave(self, command: str) -> str:
        self.on.shell_line.send(f"{command}\n")
        return self.wait_off()

    def _is_off(self) -> None:
        self._held.close()
        self._boot = self._shell = None

    def look_at_armed_disk(self) -> Armed:
        """What stage 1 left on the disk; read while the device is off."""
        with mounted_system(self.prepared.disk, self.prepared.file_systems, read_only=True) as root:
            journal = parse_journal((root / JOURNAL.lstrip("/")).read_text())
            return Armed(
                backups=read_backups(root, self.config),
                initramfs_bytes=self._initramfs_bytes(root),
                changes=tuple(entry.title for entry in journal.entries if entry.title),
                names=tuple(entry.name for entry in journal.entries if entry.name),
            )

    def _initramfs_bytes(self, root: Path) -> int:
        drive, path = self._initramfs
        return len(drive.read_file(path)) if drive else (root / path).stat().st_size

    @property
    def _initramfs(self) -> tuple[FatDrive | None, str]:
        """The FAT on which stage 1 puts it, if it does, and the path there or below the root folder."""
        fat = self.prepared.boot_fat
        if fat is None:
            return None, f"{self.prepared.boot_folder}/{INITRAMFS_NAME}"
        return FatDrive(image=self.prepared.disk, offset_bytes=fat.span.start_bytes), INITRAMFS_NAME

    def damage_initramfs(self, how: Damage) -> None:
        """Damage the initramfs of stage 2, while the device is off."""
        self.change_initramfs(lambda initramfs, handover: damaged(initramfs, how, handover))

    def change_initramfs(self, change: Callable[[bytes, str], bytes | None]) -> None:
        """Make another initramfs of that of stage 2 and its hand-over, or none, while the device is off."""
        drive, path = self._initramfs
        with mounted_system(self.prepared.disk, self.prepared.file_systems, read_only=drive is not None) as root:
            whole = drive.read_file(path) if drive else (root / path).read_bytes()
            content = change(whole, (root / STAGE2_CONFIG.lstrip("/")).read_text())
            if drive:
                _replace_on_fat(drive, path, content)
            elif content is None:
                (root / path).unlink()
            else:
                (root / path).write_bytes(content)

    def damage_kernel(self, how: Damage) -> None:
        """Damage the kernel that UEFI firmware starts for stage 2, while the device is off."""
        drive, _ = self._initramfs
        if drive is None:
            raise LabError("stage 1 has copied no kernel")
        _replace_on_fat(drive, EFI_KERNEL_NAME, damaged_file(drive.read_file(EFI_KERNEL_NAME), how))

    def may_be_left(self) -> tuple[str, ...]:
        """What stage 1 leaves behind for `undo` besides its own folder; none of the boot loader's files."""
        folder = self.prepared.boot_folder
        return (
            f"{folder}/{'balena-migrate-*' if self.prepared.boot_fat else INITRAMFS_NAME}",
            STAGE2_CONFIG.lstrip("/"),
            *(f"{owner.HOME_DIR}/{name}" for name in backup_names(self.config)),
        )

    def old_system_checks(self) -> list[Check]:
        """Check, while the device is off, that nothing on the old system changed apart from `left`."""
        now = read_old_system(self.prepared)
        table = read_partitions(self.prepared.disk)
        same_table = all(system.span in table for system in self.prepared.file_systems)
        changes = find_changes(self.record.before.files, now.files, self.record.left)
        may_differ = f"the journal, logs, what is known of the image{', what undo removes' if self.record.left else ''}"
        unchanged = Check(
            name="the old system is unchanged",
            passed=same_table and not changes,
            expected=f"no change except {may_differ}",
            found=", ".join(changes[:SHOWN_CHANGES]) or ("no change" if same_table else "a different partition table"),
        )
        return [unchanged, *self._entries_checks(now.variables), *self.next_boot_checks()]

    def _entries_checks(self, now: BootVariables | None) -> list[Check]:
        """Check that the firmware's boot entries are the same, apart from one of ours that undo removes."""
        before = self.record.before.variables
        if before is None or now is None:
            return []
        if self.record.left:
            now = now.without(STAGE2_KERNEL)
        return [same("the firmware's boot entries", "\n".join(before.lines()), "\n".join(now.lines()))]

    def next_boot_checks(self) -> list[Check]:
        """Check that the next boot is the original one, if that can be read from the disk or the firmware's store."""
        before, variables = self.record.before.variables, read_boot_variables(self.prepared.disk)
        if before and variables:
            return [same("boot entry of the next start", before.first, variables.first)]
        now = self.prepared.machine.next_boot(self.prepared.disk)
        return [same("next boot", self.record.before.next_boot, now)] if now else []


def begin_on_copies(record: Record, disk: Path, logs: Path) -> Run:
    """The same device, off, on a copy of its boot disk and those of its other drives beside it. Nothing is said of it,
    and `logs` gets the consoles' logs."""
    drives = (disk, *(disk.with_name(drive.name) for drive in record.prepared.drives[1:]))
    prepared = replace(record.prepared, drives=drives)
    return Run(
        record=Record(prepared=prepared, before=record.before, disk_before=None, left=record.left),
        virtual=VirtualDevice(
            machine=prepared.machine, drives=drives, folder=logs, timeline=Timeline(lambda text: None)
        ),
    )


def _replace_on_fat(drive: FatDrive, path: str, content: bytes | None) -> None:
    """The file has this content; with None it is gone."""
    if content is None:
        drive.remove_file(path)
    else:
        drive.write_file(path, content)


def read_old_system(prepared: Prepared) -> OldState:
    """The old system's files and its next boot; read while the device is off."""
    with mounted_system(prepared.disk, prepared.file_systems, read_only=True) as root:
        files = read_tree(root)
    if prepared.fat:
        fat, folder = FatImage(prepared.disk, prepared.fat.span.start_bytes), prepared.fat.folder
        files |= {f"{folder}/{name}": hashlib.sha256(fat.read(name)).hexdigest() for name in fat.names}
    return OldState(
        files=files,
        next_boot=prepared.machine.next_boot(prepared.disk),
        variables=read_boot_variables(prepared.disk),
        other_disk=file_hash(prepared.other_disk) if prepared.other_disk else "",
    )
