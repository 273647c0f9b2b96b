# SPDX-License-Identifier: Apache-2.0
"""Machines that QEMU emulates: the arguments of each, and how it shows that it is off."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.workstation.lab.buses import Bus
from balena_migrate.workstation.lab.result import Fact


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the firmware would start: paths on the boot partition, and the kernel's command line."""

    kernel: str
    initramfs: tuple[str, ...]
    device_tree: str
    command_line: str


@dataclass(frozen=True, kw_only=True)
class Machine(ABC):
    """A machine. The first of its serial ports, `lines`, is the kernel's console; the last one runs a root shell.

    `off_words` is a pattern for the kernel's last message, if the machine does not power off by itself. `hardware` are
    QEMU's arguments for what is plugged in besides. `bus` is where a PC's disks hang; a Raspberry Pi has its card slot.
    With `boot_disk_last`, the disk from which a PC boots is plugged in behind the other ones. The kernel's names need
    not follow that order, since it looks at several ports at once.
    """

    lines: tuple[str, ...]
    hardware: tuple[str, ...] = ()
    bus: Bus = Bus.SATA
    boot_disk_last: bool = False
    off_words: str = ""

    @property
    @abstractmethod
    def accelerator(self) -> str: ...

    @abstractmethod
    def argv(self, drives: Sequence[Path], memory_mib: int, folder: Path, log: Path | None = None) -> list[str]:
        """QEMU's command line to boot from the first drive in its current state. `folder` is for files of this boot.

        With a `log`, a new file, all that the device asks of its boot disk is recorded there.
        """

    def next_boot(self, disk: Path) -> Start | None:
        """What the firmware would start from the disk now; None if QEMU runs the machine's own firmware.

        Raises LabError if it would start nothing.
        """
        return None

    @abstractmethod
    def facts(self, memory_mib: int) -> tuple[Fact, ...]:
        """Describe the emulated machine."""
