# SPDX-License-Identifier: Apache-2.0
"""A PC with SeaBIOS, which boots from its disk as any PC does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.workstation.lab.buses import attached
from balena_migrate.workstation.lab.machines import Machine
from balena_migrate.workstation.lab.qemu import find_accelerator, pc_arguments, read_version
from balena_migrate.workstation.lab.result import Fact

PROGRAM = "qemu-system-x86_64"


@dataclass(frozen=True, kw_only=True)
class PcMachine(Machine):
    """`kernel` only serves to test for KVM; the device boots the kernel on its disk. `processor` is QEMU's model."""

    lines: tuple[str, ...] = ("console", "shell")
    kernel: Path
    processor: str = "qemu64"

    @property
    def accelerator(self) -> str:
        return find_accelerator(self.kernel)

    def argv(self, drives: Sequence[Path], memory_mib: int, folder: Path) -> list[str]:
        disks = attached(drives, self.bus, boot_disk_last=self.boot_disk_last)
        common = pc_arguments(disks, memory_mib=memory_mib, accelerator=self.accelerator, processor=self.processor)
        return [PROGRAM, *common, *self.hardware, "-no-reboot"]

    def facts(self, memory_mib: int) -> tuple[Fact, ...]:
        return (
            Fact(name="Machine", value="q35, with SeaBIOS and one processor"),
            Fact(name="Processor", value=self.processor),
            Fact(name="Disks", value=self.bus),
            Fact(name="Memory", value=f"{memory_mib} MiB"),
            Fact(name="Emulator", value=read_version(PROGRAM)),
        )
