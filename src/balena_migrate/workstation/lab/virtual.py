# SPDX-License-Identifier: Apache-2.0
"""A virtual device: a machine, its drives, and its serial lines over all of its boots.

QEMU ends at every reset and is started again: so each boot may find other memory, and a machine whose firmware QEMU
does not run (Raspberry Pi) looks at its boot partition anew every time.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.console import Console, Shell
from balena_migrate.workstation.lab.machines import Machine
from balena_migrate.workstation.lab.qemu import Emulator, running
from balena_migrate.workstation.lab.timeline import Timeline

BOOT_TIMEOUT_S = 1800.0
LAST_CHARACTERS = 1500
RESET, SHUTDOWN = "guest-reset", "guest-shutdown"
"""Why a device went off, in QMP's words."""


@dataclass(frozen=True, kw_only=True)
class Boot:
    """A device that is on."""

    machine: Machine
    emulator: Emulator

    @property
    def console(self) -> Console:
        """The kernel's serial line."""
        return self.emulator.consoles[self.machine.lines[0]]

    @property
    def shell_line(self) -> Console:
        return self.emulator.consoles[self.machine.lines[-1]]

    def log_in(self) -> Shell:
        """A root shell, once the old system is up."""
        shell = Shell(self.shell_line)
        shell.log_in(BOOT_TIMEOUT_S)
        return shell

    def wait_off(self, timeout_s: float = BOOT_TIMEOUT_S) -> str:
        """The device is off; says why: RESET or SHUTDOWN. Raises LabError where it stays on."""
        if not self.machine.off_words:
            return self.emulator.wait_off(timeout_s)
        found = self.console.find(self.machine.off_words, timeout_s)
        if found is None:
            raise LabError(f"the device is not done after {timeout_s:.0f} s", hint=self.console.text[-LAST_CHARACTERS:])
        return RESET if "Restarting" in found[0] else SHUTDOWN


@dataclass(frozen=True, kw_only=True)
class VirtualDevice:
    """`drives` begin with the disk that boots; `folder` gets a log of each serial line, over all boots."""

    machine: Machine
    drives: tuple[Path, ...]
    folder: Path
    timeline: Timeline

    @property
    def logs(self) -> dict[str, Path]:
        """The serial lines' logs, the kernel's console first."""
        return {name: self.folder / f"{name}.log" for name in self.machine.lines}

    @contextlib.contextmanager
    def on(self, memory_mib: int) -> Iterator[Boot]:
        """The device is switched on; at the end it is off in any case."""
        line = self.timeline
        with tempfile.TemporaryDirectory(prefix="balena-migrate-boot-") as files:
            program, *arguments = self.machine.argv(self.drives, memory_mib, Path(files))
            with running(program, arguments, serial_logs=self.logs, clock=line.now, on_line=line.read_line) as emulator:
                yield Boot(machine=self.machine, emulator=emulator)
