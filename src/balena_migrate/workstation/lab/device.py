# SPDX-License-Identifier: Apache-2.0
"""A virtual device: a disk, a board, and its serial lines over all of its boots.

QEMU ends at every reset and is started again: so each boot may find other memory, and a board whose firmware QEMU does
not run (Raspberry Pi) looks at its boot partition anew every time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.workstation.lab.console import Console, Shell
from balena_migrate.workstation.lab.qemu import Emulator, find_accelerator, pc_arguments, running
from balena_migrate.workstation.lab.timeline import Timeline

BOOT_TIMEOUT_S = 1800.0

Board = Callable[[Path, int], list[str]]
"""board(disk, memory_mib) -> QEMU's argv for a boot from that disk."""


def pc_board(kernel: Path) -> Board:
    """A PC with SeaBIOS. The kernel only serves to find out how fast QEMU can be here; the disk's own is started."""

    def command(disk: Path, memory_mib: int) -> list[str]:
        return [
            "qemu-system-x86_64",
            *pc_arguments(disk, memory_mib=memory_mib, accelerator=find_accelerator(kernel)),
            "-no-reboot",
        ]

    return command


@dataclass(frozen=True, kw_only=True)
class Boot:
    """A device that is on."""

    emulator: Emulator

    @property
    def console(self) -> Console:
        """The kernel's serial line."""
        return self.emulator.consoles["console"]

    def log_in(self) -> Shell:
        """A root shell on the other serial line, once the old system is up."""
        shell = Shell(self.emulator.consoles["shell"])
        shell.log_in(BOOT_TIMEOUT_S)
        return shell

    def wait_off(self, timeout_s: float = BOOT_TIMEOUT_S) -> str:
        """The device went off; says why, as Emulator.wait_off."""
        return self.emulator.wait_off(timeout_s)

    def power_off(self) -> None:
        """The old system was shut down in the orderly way, and the device is off."""
        self.emulator.consoles["shell"].send("systemctl poweroff\n")
        self.wait_off()


@dataclass(frozen=True, kw_only=True)
class VirtualDevice:
    """`folder` gets the serial logs: console.log and shell.log."""

    disk: Path
    board: Board
    folder: Path
    timeline: Timeline

    @property
    def logs(self) -> dict[str, Path]:
        """The serial lines' logs, the kernel's console first."""
        return {name: self.folder / f"{name}.log" for name in ("console", "shell")}

    @contextlib.contextmanager
    def on(self, memory_mib: int) -> Iterator[Boot]:
        """The device is switched on; at the end it is off in any case."""
        program, *arguments = self.board(self.disk, memory_mib)
        line = self.timeline
        with running(program, arguments, serial_logs=self.logs, clock=line.now, on_line=line.read_line) as emulator:
            yield Boot(emulator=emulator)
