# SPDX-License-Identifier: Apache-2.0
"""QEMU's Raspberry Pis, each started with what the firmware stand-in finds on the card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.core.errors import LabError
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.faulty_disk import BOOT_DISK, plain_nodes
from balena_migrate.workstation.lab.machines import Machine, Start
from balena_migrate.workstation.lab.machines.raspberrypi.firmware import FatImage, find_boot_partition, find_start
from balena_migrate.workstation.lab.qemu import read_version
from balena_migrate.workstation.lab.recording import recorded_drive
from balena_migrate.workstation.lab.result import Fact


@dataclass(frozen=True, kw_only=True)
class PiMachine(Machine):
    """A virtual Raspberry Pi. `arguments` are added to every kernel command line, the new system's too, only because of
    QEMU; the real firmware adds some of its own. `clock` are QEMU's options for the machine's clock."""

    board: Board
    machine: str
    program: str
    arguments: str
    clock: tuple[str, ...] = ()
    built_in: Path | None = None
    """What QEMU gives the kernel before the firmware's initramfs: in place of drivers that are built in, and of what
    such a kernel does where it finds no init. One that follows replaces its init."""
    lines: tuple[str, ...] = ("console",)
    off_words: str = r"reboot: (Restarting system|Power down|System halted)"
    """QEMU's boards neither reset nor power off by themselves."""

    @property
    def accelerator(self) -> str:
        """The kernel uses one processor, but flushes the TLBs of all four: if each had a thread of its own, every flush
        would wait for all of them, which takes minutes on a busy machine."""
        return "tcg,thread=single"

    @property
    def memory_mib(self) -> int:
        return self.board.memory_bytes // MIB

    def argv(self, drives: Sequence[Path], memory_mib: int, folder: Path, log: Path | None = None) -> list[str]:
        """Several initramfs files are concatenated in memory, as the firmware does."""
        (card,) = drives
        partition, start = FatImage(card, find_boot_partition(card)), self.next_boot(card)
        partition.extract(start.kernel, folder / "kernel")
        partition.extract(start.device_tree, folder / "device-tree")
        built_in = self.built_in.read_bytes() if self.built_in else b""
        # The kernel wants each archive to begin at a multiple of four.
        initramfs = built_in + bytes(-len(built_in) % 4) + b"".join(partition.read(name) for name in start.initramfs)
        (folder / "initramfs").write_bytes(initramfs)
        words = (start.command_line, self.arguments, self._memory_argument(memory_mib))
        return [
            *(self.program, "-machine", self.machine, "-accel", self.accelerator, *self.clock),
            *("-m", f"{self.memory_mib}M", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-drive", f"if=sd,{recorded_drive(card, log) if log else plain_nodes(card, BOOT_DISK)}"),
            *("-kernel", f"{folder}/kernel", "-dtb", f"{folder}/device-tree", "-append", " ".join(filter(None, words))),
            *(("-initrd", f"{folder}/initramfs") if initramfs else ()),
        ]

    def _memory_argument(self, memory_mib: int) -> str:
        """QEMU's boards have the memory of the real ones; a smaller size is set by a kernel argument."""
        if memory_mib > self.memory_mib:
            raise LabError(f"{self.board.name} has {self.memory_mib} MiB of memory; {memory_mib} MiB is not possible")
        return f"mem={memory_mib}M" if memory_mib < self.memory_mib else ""

    def next_boot(self, disk: Path) -> Start:
        return find_start(FatImage(disk, find_boot_partition(disk)), self.board)

    def facts(self, memory_mib: int) -> tuple[Fact, ...]:
        return (
            Fact(name="Board", value=f"{self.board.name} (QEMU's {self.machine})"),
            Fact(name="Firmware", value="a stand-in, which reads config.txt on every boot"),
            Fact(name="Memory", value=f"{memory_mib} MiB"),
            Fact(name="Emulator", value=read_version(self.program)),
            *((Fact(name="Clock", value=f"counts instructions: {' '.join(self.clock)}"),) if self.clock else ()),
        )


ONE_PROCESSOR = "maxcpus=1"
"""On a busy machine, four emulated processors spend their time waiting for each other."""

RASPI3B = PiMachine(
    board=Board(model=Model.THREE_B, chip=Chip.BCM2837, memory_bytes=1024 * MIB),
    machine="raspi3b",
    program="qemu-system-aarch64",
    arguments=ONE_PROCESSOR,
    # Input on the first port goes to the Bluetooth driver; the second port is the mini UART.
    lines=("console", "shell"),
)
RASPI2B = PiMachine(
    board=Board(model=Model.TWO_B, chip=Chip.BCM2836, memory_bytes=1024 * MIB),
    machine="raspi2b",
    program="qemu-system-arm",
    arguments=ONE_PROCESSOR,
)
RASPI0 = PiMachine(
    board=Board(model=Model.ZERO, chip=Chip.BCM2835, memory_bytes=512 * MIB),
    machine="raspi0",
    program="qemu-system-arm",
    # QEMU's machine lacks the power controller that this driver expects: the kernel would hang.
    arguments="initcall_blacklist=bcm2835_pm_driver_init",
    # The board's only timer fires when its counter equals the value that the kernel wrote: if the host pauses QEMU at
    # that moment, the next match is 71 minutes away. So the board's clock counts instructions, 4 ns for each.
    clock=("-icount", "shift=2,sleep=off"),
)
