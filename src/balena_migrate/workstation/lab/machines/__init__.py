# SPDX-License-Identifier: Apache-2.0
"""Machines that QEMU emulates: what each is started with, and how it shows that it is off."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """A machine. Its serial `lines` begin with the kernel's; a root shell listens on the last one.

    `off_words` are the kernel's last words, as a pattern, where the machine does not go off by itself.
    """

    lines: tuple[str, ...]
    off_words: str = ""

    @property
    @abstractmethod
    def accelerator(self) -> str: ...

    @abstractmethod
    def argv(self, drives: Sequence[Path], memory_mib: int, folder: Path) -> list[str]:
        """QEMU's command line for a boot from the first drive as it is now. `folder` is for files of this boot."""

    def next_boot(self, disk: Path) -> Start | None:
        """What the firmware would start from the disk now; None where QEMU runs the machine's own firmware.

        Raises LabError where it would start nothing.
        """
        return None

    @abstractmethod
    def facts(self, memory_mib: int) -> tuple[Fact, ...]:
        """What is emulated, in words."""
