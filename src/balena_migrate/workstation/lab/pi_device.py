# SPDX-License-Identifier: Apache-2.0
"""A virtual Raspberry Pi: at every start the firmware stand-in reads the card, and QEMU starts what it names."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.console import Console
from balena_migrate.workstation.lab.pi_cards import BOOT, PiGuest
from balena_migrate.workstation.lab.pi_firmware import FatImage, Start, find_start
from balena_migrate.workstation.lab.qemu import Emulator, running
from balena_migrate.workstation.lab.timeline import Timeline

OFF = r"reboot: (Restarting system|Power down|System halted)"
"""QEMU's boards neither reset nor go off by themselves: the kernel's last words tell that it is done."""

ACCELERATOR = "tcg,thread=single"
"""The kernel uses one processor (pi_cards.ONE_PROCESSOR), and flushes the address caches of all four: where each has a
thread of its own, every flush waits for all of them, which on a busy machine takes minutes."""

LINE = "console"
LAST_CHARACTERS = 3000


class PiDevice:
    """The device: its card, and in `folder` one log of its serial line for each start."""

    def __init__(self, guest: PiGuest, card: Path, folder: Path, timeline: Timeline) -> None:
        self.guest = guest
        self.card = card
        self.timeline = timeline
        self.logs: list[Path] = []
        self._folder = folder

    @property
    def boot_partition(self) -> FatImage:
        """The first partition as it is now."""
        return FatImage(self.card, BOOT.start_bytes)

    def next_start(self) -> Start:
        """What the firmware would boot now. Raises LabError where it would boot nothing."""
        return find_start(self.boot_partition, self.guest.board)

    @contextlib.contextmanager
    def started(self) -> Iterator[Emulator]:
        """The device, switched on while the context lasts."""
        partition, start = self.boot_partition, self.next_start()
        log = self._folder / f"start-{len(self.logs) + 1}.log"
        log.unlink(missing_ok=True)
        self.logs.append(log)
        line = self.timeline
        with tempfile.TemporaryDirectory(prefix="balena-migrate-pi-") as name:
            arguments = self._arguments(partition, start, Path(name))
            with running(
                self.guest.program, arguments, serial_logs={LINE: log}, clock=line.now, on_line=line.read_line
            ) as device:
                yield device

    def run_to_end(self, timeout_s: float) -> str:
        """Switches the device on and waits until its kernel is done; what it said. Raises LabError on time-out."""
        with self.started() as device:
            return wait_for_end(device.consoles[LINE], timeout_s)

    def _arguments(self, partition: FatImage, start: Start, folder: Path) -> list[str]:
        """The files that QEMU loads in the firmware's place; several initramfs files follow each other."""
        partition.extract(start.kernel, folder / "kernel")
        partition.extract(start.device_tree, folder / "device-tree")
        (folder / "initramfs").write_bytes(b"".join(partition.read(name) for name in start.initramfs))
        guest = self.guest
        command_line = f"{start.command_line} {guest.arguments}".strip()
        return [
            *("-machine", guest.machine, "-accel", ACCELERATOR, *guest.clock, "-m", f"{guest.memory_mib}M"),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-drive", f"file={self.card},format=raw,if=sd,cache=unsafe"),
            *("-kernel", f"{folder}/kernel", "-dtb", f"{folder}/device-tree", "-append", command_line),
            *(("-initrd", f"{folder}/initramfs") if start.initramfs else ()),
        ]


def wait_for_end(console: Console, timeout_s: float) -> str:
    """All that the console said until the kernel was done, or the device went off."""
    until = time.monotonic() + timeout_s
    if console.find(OFF, timeout_s) is None and time.monotonic() >= until:
        raise LabError(f"the device is not done after {timeout_s:.0f} s", hint=console.text[-LAST_CHARACTERS:])
    return console.text
