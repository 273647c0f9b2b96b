# SPDX-License-Identifier: Apache-2.0
"""A virtual device: a machine, its drives, and its serial consoles across all boots.

QEMU exits on every reset and is started again: so the memory size may change from boot to boot, and a machine whose
firmware QEMU does not run (Raspberry Pi) has its boot partition read anew every time.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.console import Console, Shell
from balena_migrate.workstation.lab.machines import Machine
from balena_migrate.workstation.lab.qemu import Emulator, running
from balena_migrate.workstation.lab.recording import next_log
from balena_migrate.workstation.lab.timeline import Timeline

BOOT_TIMEOUT_S = 1800.0
LAST_CHARACTERS = 1500
RESET, SHUTDOWN = "guest-reset", "guest-shutdown"
"""Why a device went off: QMP's reasons."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A device that stands still: how its emulator was started, on which drives, and a file with all else of it."""

    argv: tuple[str, ...]
    drives: tuple[Path, ...]
    state: Path

    def argv_on(self, drives: Sequence[Path]) -> list[str]:
        """How an emulator is started that goes on from here, on copies of the drives and what lies beside them."""
        return [word.replace(str(self.drives[0].parent), str(drives[0].parent)) for word in self.argv]


@dataclass(frozen=True, kw_only=True)
class Boot:
    """A device that is on."""

    machine: Machine
    emulator: Emulator
    argv: tuple[str, ...]
    """How its emulator was started."""

    @property
    def console(self) -> Console:
        """The kernel's serial console."""
        return self.emulator.consoles[self.machine.lines[0]]

    @property
    def shell_line(self) -> Console:
        return self.emulator.consoles[self.machine.lines[-1]]

    def log_in(self) -> Shell:
        """Wait for the old system; return a root shell in it."""
        shell = Shell(self.shell_line)
        shell.log_in(BOOT_TIMEOUT_S)
        return shell

    @property
    def is_off(self) -> bool:
        """Whether it went off by itself."""
        if not self.machine.off_words:
            return self.emulator.process.poll() is not None
        return re.search(self.machine.off_words, self.console.text) is not None

    def wait_off(self, timeout_s: float = BOOT_TIMEOUT_S) -> str:
        """Wait until the device is off; return RESET or SHUTDOWN. Raises LabError if it stays on."""
        if not self.machine.off_words:
            return self.emulator.wait_off(timeout_s)
        found = self.console.find(self.machine.off_words, timeout_s)
        if found is None:
            raise LabError(f"the device is still on after {timeout_s:.0f} s", hint=self.console.text[-LAST_CHARACTERS:])
        return RESET if "Restarting" in found[0] else SHUTDOWN


@dataclass(frozen=True, kw_only=True)
class VirtualDevice:
    """`drives` start with the boot disk; `folder` gets a log of each serial console, across all boots."""

    machine: Machine
    drives: tuple[Path, ...]
    folder: Path
    timeline: Timeline
    recording: Path | None = None
    """If set, the folder that gets, for each boot, a log of all that the device asks of its boot disk."""

    @property
    def logs(self) -> dict[str, Path]:
        """The serial consoles' logs, the kernel's first."""
        return {name: self.folder / f"{name}.log" for name in self.machine.lines}

    @contextlib.contextmanager
    def on(self, memory_mib: int) -> Iterator[Boot]:
        """Power the device on for the context; afterwards it is always off."""
        with tempfile.TemporaryDirectory(prefix="balena-migrate-boot-") as files:
            log = next_log(self.recording) if self.recording else None
            with self._running(self.machine.argv(self.drives, memory_mib, Path(files), log)) as boot:
                yield boot

    def on_from(self, moment: Moment) -> contextlib.AbstractContextManager[Boot]:
        """As `on`, but the device goes on from that moment of another one, of whose drives its own are copies."""
        return self._running(moment.argv_on(self.drives), moment.state)

    @contextlib.contextmanager
    def _running(self, argv: list[str], state: Path | None = None) -> Iterator[Boot]:
        line, (program, *arguments) = self.timeline, argv
        with running(
            program, arguments, serial_logs=self.logs, clock=line.now, on_line=line.read_line, state=state
        ) as emulator:
            yield Boot(machine=self.machine, emulator=emulator, argv=tuple(argv))
