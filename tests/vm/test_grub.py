# SPDX-License-Identifier: Apache-2.0
"""A real GRUB on a PC's firmware starts stage 2 once, with the very arguments, and the old system if it cannot.

The kernel is a few bytes that tell on the serial port what GRUB gave it, and reset the machine.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from balena_migrate.bootloaders.grub import BOOT_LOADER
from balena_migrate.bootloaders.grub.checks import check_boot
from balena_migrate.core.units import MIB
from balena_migrate.findings import Severity
from balena_migrate.settings import Config
from balena_migrate.workstation.lab.buses import Bus, attached
from balena_migrate.workstation.lab.console import Console
from balena_migrate.workstation.lab.qemu import TCG, pc_arguments, running
from tests.support.grub import INITRAMFS, KERNEL, OLDER_KERNEL, OURS, UUID, Case, GrubDisk, Setup, facts_for, grub_cfg

pytestmark = pytest.mark.vm

MODULES = Path("/usr/lib/grub/i386-pc")
CORE_MODULES = ("biosdisk", "part_msdos", "ext2")
START_TIMEOUT_S = 120

CODE = bytes.fromhex(
    # esp = 0x110000, ebp = esi (struct boot_params); print "<", the command line, "|", the initramfs, ">" and a newline
    "bc00001100 89f5 b03c e83e000000 8bb528020000 e827000000 b07c e82c000000 8bb518020000 e815000000"
    # reset by the keyboard controller
    "b03e e81a000000 b00a e813000000 b0fe e664 f4 ebf9"
    # print what esi points at, up to the first control character; wait for the serial port before each character
    "ac 3c20 7219 e802000000 ebf4 88c4 66bafd03 ec a820 74fb 66baf803 88e0 ee c3"
)


def probe() -> bytes:
    """A kernel as GRUB's `linux` loads it: Linux, x86/boot, "The Linux/x86 Boot Protocol", version 2.12."""
    setup = bytearray(1024)
    struct.pack_into("<B", setup, 0x1F1, 1)  # sectors of the setup code
    struct.pack_into("<I", setup, 0x1F4, 32)  # size of what follows it, in 16 bytes
    struct.pack_into("<H", setup, 0x1FE, 0xAA55)
    struct.pack_into("<2s4sH", setup, 0x200, b"\xeb\x66", b"HdrS", 0x020C)
    struct.pack_into("<B", setup, 0x211, 1)  # loaded at 1 MiB
    struct.pack_into("<I", setup, 0x214, MIB)  # where it starts
    struct.pack_into("<II", setup, 0x22C, 0x37FFFFFF, 0x1000)  # highest address of the initramfs, alignment
    struct.pack_into("<I", setup, 0x238, 2047)  # length of the command line
    struct.pack_into("<QI", setup, 0x258, MIB, 2 * MIB)  # preferred address, size in memory
    return bytes(setup) + CODE.ljust(512, b"\0")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the kernel told: its command line and the first line of the initramfs."""

    arguments: str
    initramfs: str


def old(kernel: str = KERNEL) -> Told:
    return Told(arguments=f"BOOT_IMAGE=/{kernel} root=UUID={UUID} ro quiet", initramfs="old")


def stage2(arguments: str = f"root=UUID={UUID} ro quiet") -> Told:
    return Told(arguments=f"BOOT_IMAGE=/{KERNEL} {arguments} panic=30", initramfs="ours")


ODD = (
    r"root=/dev/sda1 memmap=4K$0x10000000 ds=nocloud;s=http://192.0.2.1/ a=\'b\' c=\"d\" e=\\f"
    r" g={h,i} #j k=l&m|n<o>p *?"
)
CASES = {
    "plain": (Case(), stage2(), old()),
    "password": (Case(setup=Setup(password=True)), stage2(), old()),
    "odd-arguments": (Case(command_line=ODD), stage2(ODD), old()),
    "blanks-in-an-argument": (Case(command_line='ro dyndbg="file x +p"'), stage2('ro "dyndbg=file x +p"'), old()),
    "initramfs-gone": (Case(damage=lambda disk: disk.remove(OURS)), old(), old()),
    "initramfs-unreadable": (Case(damage=lambda disk: disk.make_unreadable(OURS)), old(), old()),
    "initramfs-unreadable-password": (
        Case(setup=Setup(password=True), damage=lambda disk: disk.make_unreadable(OURS)),
        old(),
        old(),
    ),
    "kernel-gone": (
        Case(setup=Setup(default="1>gnulinux-older"), damage=lambda disk: disk.remove(KERNEL)),
        old(OLDER_KERNEL),
        old(OLDER_KERNEL),
    ),
    "kernel-torn": (
        Case(setup=Setup(default="1>gnulinux-older"), damage=lambda disk: disk.write(KERNEL, probe()[:700])),
        old(OLDER_KERNEL),
        old(OLDER_KERNEL),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_grub_starts_stage_2_once_or_the_old_system(name: str, tmp_path: Path) -> None:
    case, first, second = CASES[name]
    disk = bootable_disk(case, tmp_path)
    case.damage(disk)
    with on(disk, tmp_path) as next_start:
        assert [next_start(), next_start(), next_start()] == [first, second, second]
    assert "next_entry" not in disk.environment() or disk.environment()["next_entry"] == ""


def bootable_disk(case: Case, folder: Path) -> GrubDisk:
    """A disk with GRUB, as grub-install and update-grub make it, after stage 1."""
    facts = facts_for(case)
    assert [f for f in check_boot(Config(), facts) if f.severity is Severity.BLOCKER] == []
    serial = "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n"
    files = {
        KERNEL: probe(),
        OLDER_KERNEL: probe(),
        INITRAMFS: b"old\n".ljust(5000, b"x"),
        OURS: b"ours\n".ljust(5000, b"x"),
        "boot/grub/grub.cfg": (serial + grub_cfg(case.setup)).encode(),
        **{f"boot/grub/i386-pc/{path.name}": path.read_bytes() for path in MODULES.glob("*.[ml][os][dt]")},
    }
    for action in BOOT_LOADER.boot_actions(case.config, facts):
        files[action.path.lstrip("/")] = action.content  # type: ignore[attr-defined]
    disk = GrubDisk(folder / "disk", files, 48 * MIB)
    core = folder / "core.img"
    options = ["-O", "i386-pc", "-d", str(MODULES), "-p", "(hd0,msdos1)/boot/grub", "-o", str(core)]
    subprocess.run(["grub-mkimage", *options, *CORE_MODULES], check=True)
    with disk.disk.open("r+b") as file:
        file.write((MODULES / "boot.img").read_bytes()[:440])
        file.seek(512)
        file.write(core.read_bytes())
    return disk


@contextmanager
def on(disk: GrubDisk, folder: Path) -> Iterator[Callable[[], Told]]:
    """The machine with this disk; each call waits for the next kernel."""
    arguments = pc_arguments(attached([disk.disk], Bus.SATA), memory_mib=128, accelerator=TCG)
    with running("qemu-system-x86_64", arguments, serial_logs={"console": folder / "console.log"}) as device:
        console: Console = device.consoles["console"]

        def next_start() -> Told:
            found = console.wait_for(r"<([^\n]*?) ?\|([a-z]+)>\n", START_TIMEOUT_S)
            return Told(arguments=found[1], initramfs=found[2])

        yield next_start
