# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Raspberry Pi's firmware: reads a boot partition and determines what the firmware would start.

QEMU does not run that firmware, so the virtual Pis use this on every boot. The rules are those of the vendor's
documentation (raspberrypi/documentation, computers/config_txt, and there boot, conditional, autoboot). Whatever the
documentation leaves open is refused (LabError); the stand-in is never more lenient than the firmware. It applies no
overlays and no dtparam: QEMU's machines take the device tree unchanged. config.txt is read by an independent reader,
config_txt, so that a misreading in the code that migrates does not go unnoticed.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.core.errors import CommandError, LabError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.machines import Start
from balena_migrate.workstation.lab.machines.raspberrypi.config_txt import (
    Reading,
    UndefinedError,
    evaluate,
    included_names,
    is_wide,
    kernel_names,
)
from balena_migrate.workstation.mtools import FatDrive

CONFIG, TRYBOOT, CMDLINE = "config.txt", "tryboot.txt", "cmdline.txt"
AUTOBOOT, AUTOBOOT_BYTES = "autoboot.txt", 512
UPSTREAM_PREFIX = "upstream/"

DEVICE_TREES: Mapping[Model, tuple[str, str]] = {
    Model.A: ("bcm2708-rpi-b", "bcm2835-rpi-a"),
    Model.B: ("bcm2708-rpi-b", "bcm2835-rpi-b"),
    Model.A_PLUS: ("bcm2708-rpi-b-plus", "bcm2835-rpi-a-plus"),
    Model.B_PLUS: ("bcm2708-rpi-b-plus", "bcm2835-rpi-b-plus"),
    Model.CM1: ("bcm2708-rpi-cm", "bcm2835-rpi-cm1-io1"),
    Model.ZERO: ("bcm2708-rpi-zero", "bcm2835-rpi-zero"),
    Model.ZERO_W: ("bcm2708-rpi-zero-w", "bcm2835-rpi-zero-w"),
    Model.TWO_B: ("bcm2709-rpi-2-b", "bcm2836-rpi-2-b"),
    Model.THREE_B: ("bcm2710-rpi-3-b", "bcm2837-rpi-3-b"),
    Model.THREE_B_PLUS: ("bcm2710-rpi-3-b-plus", "bcm2837-rpi-3-b-plus"),
    Model.THREE_A_PLUS: ("bcm2710-rpi-3-b-plus", "bcm2837-rpi-3-a-plus"),
    Model.CM3: ("bcm2710-rpi-cm3", "bcm2837-rpi-cm3-io3"),
    Model.CM3_PLUS: ("bcm2710-rpi-cm3", "bcm2837-rpi-cm3-io3"),
    Model.ZERO_2_W: ("bcm2710-rpi-zero-2-w", "bcm2837-rpi-zero-2-w"),
    Model.FOUR_B: ("bcm2711-rpi-4-b", "bcm2711-rpi-4-b"),
    Model.FOUR_HUNDRED: ("bcm2711-rpi-400", "bcm2711-rpi-400"),
    Model.CM4: ("bcm2711-rpi-cm4", "bcm2711-rpi-cm4-io"),
    Model.CM4S: ("bcm2711-rpi-cm4s", "bcm2711-rpi-cm4s-io"),
    Model.FIVE: ("bcm2712-rpi-5-b", "bcm2712-rpi-5-b"),
    Model.CM5: ("bcm2712-rpi-cm5-cm5io", "bcm2712-rpi-cm5-cm5io"),
    Model.CM5_LITE: ("bcm2712-rpi-cm5l-cm5io", "bcm2712-rpi-cm5l-cm5io"),
    Model.FIVE_HUNDRED: ("bcm2712-rpi-500", "bcm2712-rpi-500"),
}
"""Model -> the device tree's name in the vendor's kernel, and in upstream Linux (preferred with upstream_kernel=1)."""

ARM64_MAGIC, ZIMAGE_MAGIC, GZIP_MAGIC = b"ARM\x64", b"\x18\x28\x6f\x01", b"\x1f\x8b"
"""At 56 in an Image (Linux, arm64/booting), at 36 in a zImage (arm/boot/compressed), at 0; only Images are packed."""

NOT_DONE = ("armstub", "kernel_old", "kernel_address")
"""They change how a kernel is started, which QEMU cannot be configured to do."""


_FAT_TYPES = (0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E)
_FIRST_ENTRY = struct.Struct("<446x4xB3xI54x")


def find_boot_partition(card: Path) -> int:
    """Where the partition begins that the firmware boots from, in bytes. Raises LabError if there is none."""
    with card.open("rb") as file:
        sector = file.read(SECTOR_BYTES)
    kind, start = _FIRST_ENTRY.unpack(sector[: _FIRST_ENTRY.size])
    if sector[510:] != b"\x55\xaa" or kind not in _FAT_TYPES:
        raise LabError("the card has no partition table with a FAT in the first place")
    return int(start) * SECTOR_BYTES


class BootPartition(Protocol):
    """A FAT file system: names in any case, folders separated by "/"."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str) -> bytes: ...


def find_start(partition: BootPartition, board: Board, *, tryboot: bool = False) -> Start:
    """What this board would boot. Raises LabError if it would not boot, or if that is uncertain."""
    try:
        return _find_start(partition, board, tryboot=tryboot)
    except UndefinedError as error:
        raise LabError(f"not documented for the firmware: {error}") from None


def _find_start(partition: BootPartition, board: Board, *, tryboot: bool) -> Start:
    config = _config_name(partition, board, tryboot=tryboot)
    files = read_config_files(partition, config)
    if config == TRYBOOT and TRYBOOT not in files:
        raise UndefinedError(f"what tryboot does without {TRYBOOT}")
    reading = evaluate(files, board, start=config, tryboot=tryboot)
    early = evaluate(files, board, start=config, tryboot=tryboot, early=True)
    _check_firmware_files(partition, board, reading, early)
    _check_not_done(reading)
    prefix = _prefix(partition, board, reading)
    kernel = _first_file(partition, prefix, kernel_names(reading, board), "kernel")
    _check_bits(partition, board, reading, kernel)
    return Start(
        kernel=kernel,
        initramfs=_initramfs(partition, prefix, reading, kernel),
        device_tree=_first_file(partition, prefix, _device_trees(board, reading), "device tree"),
        command_line=_command_line(partition, prefix, reading),
    )


def read_config_files(partition: BootPartition, start: str = CONFIG) -> dict[str, str]:
    """The text of config.txt and of all included files, by name in lower case; the firmware requires none of them."""
    files: dict[str, str] = {}
    todo = [start]
    while todo:
        name = todo.pop().lower()
        if name in files or not partition.exists(name):
            continue
        files[name] = partition.read(name).decode("utf-8", "surrogateescape")
        if "\0" in files[name]:
            raise UndefinedError(f"what follows the NUL byte in {name}")
        todo += included_names(files[name])
    return files


def _config_name(partition: BootPartition, board: Board, *, tryboot: bool) -> str:
    """The file that is read as config.txt. The card's only boot partition is the first: no other can be chosen."""
    content = partition.read(AUTOBOOT) if partition.exists(AUTOBOOT) else b""
    reading = read_autoboot(content, board, tryboot=tryboot)
    number = reading.number("boot_partition")
    if number not in (0, 1):
        raise LabError(f"{AUTOBOOT} makes the firmware boot from partition {number}, which is no boot partition here")
    return CONFIG if reading.switch("tryboot_a_b") or not tryboot else TRYBOOT


def read_autoboot(content: bytes, board: Board, *, tryboot: bool = False) -> Reading:
    """What autoboot.txt sets. Documented in it are [all], [none] and [tryboot] (autoboot); other filters are undefined.

    Raises UndefinedError if nothing at all is certain.
    """
    if len(content) > AUTOBOOT_BYTES:
        raise UndefinedError(f"the effect of an {AUTOBOOT} of more than {AUTOBOOT_BYTES} bytes")
    text = content.decode("utf-8", "surrogateescape")
    known = re.sub(r"(?m)^([\ufeff\t ]*\[)(?!(?:all|none|tryboot)\])", r"\1unknown ", text)
    return evaluate({AUTOBOOT: known}, board, start=AUTOBOOT, tryboot=tryboot)


def _check_not_done(reading: Reading) -> None:
    for name in NOT_DONE:
        value = reading.text(name)
        if value not in (None, "0"):
            raise UndefinedError(f"the effect of {name}={value} on an emulator")


def _check_bits(partition: BootPartition, board: Board, reading: Reading, kernel: str) -> None:
    """A kernel started in the wrong mode, 32-bit or 64-bit, does not run. Other formats are not judged."""
    head = partition.read(kernel)[:64]
    is_64, is_32 = head.startswith(GZIP_MAGIC) or head[56:60] == ARM64_MAGIC, head[36:40] == ZIMAGE_MAGIC
    reading.text("arm_64bit")  # which must be certain for every format
    if not (is_64 or is_32):
        return
    wide = is_wide(reading, board)
    if (is_64 and not wide) or (is_32 and wide):
        bits = 64 if wide else 32
        raise LabError(f"{kernel} is a {64 if is_64 else 32}-bit kernel, but {board.name} starts it in {bits}-bit mode")


def _check_firmware_files(partition: BootPartition, board: Board, reading: Reading, early: Reading) -> None:
    """The partition must look bootable, and the firmware files that config.txt selects must exist."""
    if reading.switch("boot_ramdisk"):
        raise UndefinedError("boot_ramdisk takes all files from boot.img")
    if board.chip is Chip.BCM2712:
        needed = [CONFIG]
    else:
        four = "4" if board.chip is Chip.BCM2711 else ""
        needed = _firmware_files(reading, four)
        if needed != _firmware_files(early, four):
            raise UndefinedError("a filter or an include chooses the firmware files, which are read first")
    for name in needed:
        if not partition.exists(name):
            raise LabError(f"{board.name} does not boot: there is no {name} on the boot partition")


def _firmware_files(reading: Reading, four: str) -> list[str]:
    """start.elf and its fixup.dat are a pair: a mismatch does not boot (boot: start_file, fixup_file)."""
    start, fixup, flavour = reading.text("start_file"), reading.text("fixup_file"), _flavour(reading, four)
    if bool(start) != bool(fixup):
        raise UndefinedError("only one of start_file and fixup_file is set, but they are a pair")
    pair = [start, fixup] if start and fixup else [f"start{four}{flavour}.elf", f"fixup{four}{flavour}.dat"]
    return pair if four else [*pair, "bootcode.bin"]


def _flavour(reading: Reading, four: str) -> str:
    if reading.switch("start_x"):
        return "x" if four else "_x"
    if reading.switch("start_debug"):
        return "db" if four else "_db"
    if reading.number("gpu_mem") == 16:
        return "cd" if four else "_cd"
    return ""


def _prefix(partition: BootPartition, board: Board, reading: Reading) -> str:
    """os_prefix, if it leads to a kernel and a device tree; otherwise it is ignored (boot: os_prefix)."""
    prefix, upstream = reading.text("os_prefix"), reading.switch("upstream_kernel")
    if prefix == "" and upstream:
        raise UndefinedError("whether an empty os_prefix counts as set, with upstream_kernel")
    prefix = prefix or (UPSTREAM_PREFIX if upstream else "")
    try:
        _first_file(partition, prefix, kernel_names(reading, board), "kernel")
        _first_file(partition, prefix, _device_trees(board, reading), "device tree")
    except LabError:
        return ""
    return prefix


def _device_trees(board: Board, reading: Reading) -> tuple[str, ...]:
    if chosen := reading.text("device_tree"):
        return (chosen,)
    own, linux = DEVICE_TREES[board.model]
    order = (linux, own) if reading.switch("upstream_kernel") else (own,)
    return tuple(f"{name}.dtb" for name in order)


def _path(prefix: str, name: str) -> str:
    return name.removeprefix("/") if name.startswith("/") else prefix + name


def _first_file(partition: BootPartition, prefix: str, names: Iterable[str], what: str) -> str:
    paths = [_path(prefix, name) for name in names]
    found = next((path for path in paths if partition.exists(path)), None)
    if found is None:
        raise LabError(f"the firmware finds no {what}: there is no {' or '.join(paths)} on the boot partition")
    return found


def _initramfs(partition: BootPartition, prefix: str, reading: Reading, kernel: str) -> tuple[str, ...]:
    """initramfs NAME[,NAME...] [ADDRESS], ramfsfile=NAME[,NAME...], or derived from the kernel's name (auto_initramfs).

    The address may be missing: Debian's package raspi-firmware omits it, and its systems boot.
    """
    explicit, file = reading.text("initramfs") or "", reading.text("ramfsfile") or ""
    automatic = reading.switch("auto_initramfs")
    if (bool(explicit), bool(file), automatic).count(True) > 1:
        raise UndefinedError("several of initramfs, ramfsfile and auto_initramfs are set")
    if automatic:
        path = _automatic_initramfs(kernel)
        return (path,) if partition.exists(path) else ()
    if file and not reading.text("ramfsaddr"):
        raise UndefinedError("the address of ramfsfile without ramfsaddr")
    words = explicit.split()
    if len(words) > 2 or (len(words) == 2 and not re.fullmatch(r"followkernel|0|0x[0-9a-fA-F]+", words[1])):
        raise UndefinedError(f"initramfs {explicit!r} does not have the documented form")
    names = words[0] if words else file
    return tuple(_first_file(partition, prefix, (name,), "initramfs") for name in names.split(",") if name)


def _automatic_initramfs(kernel: str) -> str:
    """kernel8.img -> initramfs8, kernel_2712.img -> initramfs_2712; the rule for other names is not documented."""
    folder, slash, name = kernel.rpartition("/")
    match = re.fullmatch(r"kernel(|7|7l|8|_2712)\.img", name.lower())
    if match is None:
        raise UndefinedError(f"which initramfs auto_initramfs loads for the kernel {kernel}")
    return f"{folder}{slash}initramfs{match[1]}"


def _command_line(partition: BootPartition, prefix: str, reading: Reading) -> str:
    path = _path(prefix, reading.text("cmdline") or CMDLINE)
    if not partition.exists(path):
        return ""
    lines = partition.read(path).decode("utf-8", "surrogateescape").split("\n")
    if not lines[0].strip() and any(line.strip() for line in lines):
        raise UndefinedError(f"the effect of an empty first line in {path}")
    return lines[0].strip()


class FatImage:
    """The FAT file system at an offset in a disk image, read with mtools; `names` are the paths of all its files."""

    def __init__(self, image: Path, offset_bytes: int) -> None:
        self._drive = FatDrive(image=image, offset_bytes=offset_bytes)
        with _readable():
            self.names = tuple(self._drive.list_files())
        self._lower = {name.lower() for name in self.names}

    def exists(self, path: str) -> bool:
        return path.lower().strip("/") in self._lower

    def read(self, path: str) -> bytes:
        """The content of a file. Raises LabError if it does not exist or the file system is damaged."""
        with _readable():
            return self._drive.read_file(path)

    def extract(self, path: str, target: Path) -> None:
        """Copy the file to `target` on this machine."""
        with _readable():
            self._drive.copy_out(path, target)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turn a failure of mtools into LabError: such a boot partition does not boot."""
    try:
        yield
    except CommandError as error:
        raise LabError(f"cannot read the boot partition: {error.last_lines}") from None
