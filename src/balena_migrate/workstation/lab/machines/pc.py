# SPDX-License-Identifier: Apache-2.0
"""A PC with SeaBIOS or OVMF, which boots from its disk as any PC does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from balena_migrate.workstation.lab.buses import attached
from balena_migrate.workstation.lab.machines import Machine
from balena_migrate.workstation.lab.qemu import find_accelerator, pc_arguments, read_version
from balena_migrate.workstation.lab.recording import recorded_drive, store_log, trace_log
from balena_migrate.workstation.lab.result import Fact
from balena_migrate.workstation.lab.variables import store_of

PROGRAM = "qemu-system-x86_64"
OVMF = Path("/usr/share/OVMF")


class Firmware(StrEnum):
    """A PC's firmware. UEFI keeps its variables in a file beside the boot disk."""

    BIOS = "SeaBIOS"
    UEFI = "OVMF"
    SECURE_BOOT = "OVMF with Secure Boot and Microsoft's keys"

    def new_store(self, disk: Path) -> None:
        """The machine with this boot disk has variables as it comes from the factory."""
        if self is not Firmware.BIOS:
            variant = ".ms" if self is Firmware.SECURE_BOOT else ""
            shutil.copy(OVMF / f"OVMF_VARS_4M{variant}.fd", store_of(disk))

    def arguments(self, disk: Path, log: Path | None = None) -> list[str]:
        """QEMU's arguments for it, in the machine with this boot disk; its writes are recorded beside a log."""
        if self is Firmware.BIOS:
            return []
        variant, secure = "", []
        if self is Firmware.SECURE_BOOT:
            # Only code in system management mode can write to its variables (edk2, OvmfPkg/README, SMM support).
            variant = ".secboot"
            secure = ["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]
        store = recorded_drive(store_of(disk), store_log(log)) if log else f"format=raw,file={store_of(disk)}"
        return [
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M{variant}.fd"),
            *("-drive", f"if=pflash,unit=1,{store}"),
            *(("-trace", "blk_co_pwritev", "-D", str(trace_log(log))) if log else ()),
            *secure,
        ]


@dataclass(frozen=True, kw_only=True)
class PcMachine(Machine):
    """`kernel` only serves to test for KVM; the device boots the kernel on its disk. `processor` is QEMU's model."""

    lines: tuple[str, ...] = ("console", "shell")
    kernel: Path
    firmware: Firmware = Firmware.BIOS
    processor: str = "qemu64"

    @property
    def accelerator(self) -> str:
        return find_accelerator(self.kernel)

    def argv(self, drives: Sequence[Path], memory_mib: int, folder: Path, log: Path | None = None) -> list[str]:
        ranked = self.firmware is Firmware.BIOS
        disks = attached(drives, self.bus, boot_disk_last=self.boot_disk_last, ranked=ranked, log=log)
        common = pc_arguments(disks, memory_mib=memory_mib, accelerator=self.accelerator, processor=self.processor)
        return [PROGRAM, *common, *self.firmware.arguments(drives[0], log), *self.hardware, "-no-reboot"]

    def facts(self, memory_mib: int) -> tuple[Fact, ...]:
        return (
            Fact(name="Machine", value="q35, with one processor"),
            Fact(name="Firmware", value=self.firmware),
            Fact(name="Processor", value=self.processor),
            Fact(name="Disks", value=self.bus),
            Fact(name="Memory", value=f"{memory_mib} MiB"),
            Fact(name="Emulator", value=read_version(PROGRAM)),
        )
