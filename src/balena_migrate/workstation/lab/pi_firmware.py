# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Raspberry Pi's firmware: reads a boot partition and says what the firmware would start.

QEMU does not run that firmware, so whoever starts a virtual Pi asks here first, at every start. The rules are those of
the maker's documentation (raspberrypi/documentation, computers/config_txt, and there boot, conditional, autoboot).
It refuses (LabError) what the documentation does not settle, and is never kinder than the firmware. It applies no
overlays and no dtparam: QEMU's machines take the device tree as it is.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    CMDLINE,
    CONFIG,
    TRYBOOT,
    UPSTREAM_PREFIX,
    Settings,
    UnclearError,
    evaluate,
    file_name,
    kernel_names,
    parse_line,
    split_lines,
)
from balena_migrate.core.errors import LabError

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
"""Model -> the device tree's name in the firmware's own tree, and in Linux (preferred with upstream_kernel=1)."""


KERNEL_BITS = {
    **dict.fromkeys(("kernel.img", "kernel7.img", "kernel7l.img"), 32),
    **dict.fromkeys(("kernel8.img", "kernel_2712.img"), 64),
}
"""The kernels that the firmware knows by name (boot: arm_64bit)."""
ARM64_MAGIC, ZIMAGE_MAGIC, GZIP_MAGIC = b"ARM\x64", b"\x18\x28\x6f\x01", b"\x1f\x8b"
"""At 56 in an Image (Linux, arm64/booting), at 36 in a zImage (arm/boot/compressed), at 0; only Images are packed."""

NOT_DONE = ("armstub", "kernel_old", "kernel_address")
"""They change how a kernel is started, which an emulator is not told."""
WITH_VALUE = ("kernel", "cmdline", "device_tree", "initramfs", "ramfsfile")


class BootPartition(Protocol):
    """A FAT file system: names in any case, folders separated by "/"."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the firmware would start: paths on the boot partition, and the kernel's command line."""

    kernel: str
    initramfs: tuple[str, ...]
    device_tree: str
    command_line: str


def find_start(partition: BootPartition, board: Board, *, tryboot: bool = False) -> Start:
    """What a start of this board would boot. Raises LabError where it would not boot, or where that is not certain."""
    try:
        return _find_start(partition, board, tryboot=tryboot)
    except UnclearError as error:
        raise LabError(f"the firmware stand-in does not know: {error}") from None


def _find_start(partition: BootPartition, board: Board, *, tryboot: bool) -> Start:
    if partition.exists("autoboot.txt"):
        raise UnclearError("autoboot.txt may choose another partition")
    config = TRYBOOT if tryboot else CONFIG
    files = read_config_files(partition, config)
    if tryboot and TRYBOOT not in files:
        raise UnclearError(f"what a start with tryboot does without {TRYBOOT}")
    settings = evaluate(files, board, tryboot=tryboot, start=config)
    _check_firmware_files(partition, board, settings, _early_settings(files, board, config))
    _check_settings(settings)
    prefix = _prefix(partition, board, settings)
    kernel = _first_file(partition, prefix, kernel_names(settings, board), "kernel")
    _check_bits(partition, board, settings, kernel)
    return Start(
        kernel=kernel,
        initramfs=_initramfs(partition, prefix, settings, kernel),
        device_tree=_first_file(partition, prefix, _device_trees(board, settings), "device tree"),
        command_line=_command_line(partition, prefix, settings),
    )


def read_config_files(partition: BootPartition, start: str = CONFIG) -> dict[str, str]:
    """The text of config.txt and of all that it includes, by name in lower case; the firmware needs none of them."""
    files: dict[str, str] = {}
    todo = [start]
    while todo:
        name = todo.pop().lower()
        if name in files or not partition.exists(name):
            continue
        files[name] = partition.read(name).decode("utf-8", "surrogateescape")
        if "\0" in files[name]:
            raise UnclearError(f"what lies behind the NUL in {name}")
        parsed = (parse_line(line) for line in split_lines(files[name]))
        todo += [file_name(line.value) for line in parsed if line and line.key == "include"]
    return files


def _check_settings(settings: Settings) -> None:
    for key in NOT_DONE:
        if settings.get(key, "0") != "0":
            raise UnclearError(f"what becomes of {key}={settings.get(key)}")
    for key in WITH_VALUE:
        if settings.get(key, "a file") == "":
            raise UnclearError(f"what {key} without a value means")


def _check_bits(partition: BootPartition, board: Board, settings: Settings, kernel: str) -> None:
    """A kernel that is started in the other width does not run."""
    own_bits = 32 if board.chip not in (Chip.BCM2711, Chip.BCM2712) else 64
    wide = settings.get("arm_64bit", "1" if own_bits == 64 else "0") == "1" or board.chip is Chip.BCM2712
    bits = KERNEL_BITS.get(kernel.rpartition("/")[2].lower(), 64 if wide else 32)
    head = partition.read(kernel)[:64]
    is_64 = head.startswith(GZIP_MAGIC) or head[56:60] == ARM64_MAGIC
    if (is_64 and bits == 32) or (head[36:40] == ZIMAGE_MAGIC and bits == 64):
        raise LabError(f"{kernel} is a {64 if is_64 else 32}-bit kernel, and {board.name} starts it with {bits} bits")


def _early_settings(files: Mapping[str, str], board: Board, config: str) -> Settings:
    """What the program before start.elf reads: bootcode.bin and the EEPROM know no include (what_is_config_txt), and
    older ones no filters (raspberrypi/firmware#1076).
    """
    plain = "".join(line for line in split_lines(files.get(config, "")) if _key(line) != "[")
    return evaluate({config: plain}, board, start=config)


def _key(line: str) -> str:
    parsed = parse_line(line)
    return parsed.key if parsed else ""


def _check_firmware_files(partition: BootPartition, board: Board, settings: Settings, early: Settings) -> None:
    """The partition has to look bootable, and the firmware that config.txt chooses has to be there."""
    if settings.get("boot_ramdisk", "0") != "0":
        raise UnclearError("boot_ramdisk takes all files out of boot.img")
    if board.chip is Chip.BCM2712:
        needed = [CONFIG]
    else:
        four = "4" if board.chip is Chip.BCM2711 else ""
        needed = _firmware_files(settings, four)
        if needed != _firmware_files(early, four):
            raise UnclearError("a filter or an include chooses the firmware, which is read before they are")
    for name in needed:
        if not partition.exists(name):
            raise LabError(f"{board.name} does not boot: there is no {name} on the boot partition")


def _firmware_files(settings: Settings, four: str) -> list[str]:
    """start.elf and its fixup.dat are a pair: the board does not boot with others' (boot: start_file, fixup_file)."""
    start, fixup, flavour = settings.get("start_file"), settings.get("fixup_file"), _flavour(settings, four)
    if bool(start) != bool(fixup):
        raise UnclearError("only one of start_file and fixup_file is set, and they are a pair")
    pair = [start, fixup] if start else [f"start{four}{flavour}.elf", f"fixup{four}{flavour}.dat"]
    return pair if four else [*pair, "bootcode.bin"]


def _flavour(settings: Settings, four: str) -> str:
    if settings.get("start_x", "0") == "1":
        return "x" if four else "_x"
    if settings.get("start_debug", "0") == "1":
        return "db" if four else "_db"
    if settings.get("gpu_mem") == "16":
        return "cd" if four else "_cd"
    return ""


def _prefix(partition: BootPartition, board: Board, settings: Settings) -> str:
    """os_prefix, if a kernel and a device tree are found with it; else it is ignored (boot: os_prefix)."""
    upstream = UPSTREAM_PREFIX if settings.get("upstream_kernel", "0") == "1" else ""
    prefix = settings.get("os_prefix") or upstream
    try:
        _first_file(partition, prefix, kernel_names(settings, board), "kernel")
        _first_file(partition, prefix, _device_trees(board, settings), "device tree")
    except LabError:
        return ""
    return prefix


def _device_trees(board: Board, settings: Settings) -> tuple[str, ...]:
    if chosen := settings.get("device_tree"):
        return (chosen,)
    own, linux = DEVICE_TREES[board.model]
    order = (linux, own) if settings.get("upstream_kernel", "0") == "1" else (own,)
    return tuple(f"{name}.dtb" for name in order)


def _path(prefix: str, name: str) -> str:
    return name.removeprefix("/") if name.startswith("/") else prefix + name


def _first_file(partition: BootPartition, prefix: str, names: Iterable[str], what: str) -> str:
    paths = [_path(prefix, name) for name in names]
    found = next((path for path in paths if partition.exists(path)), None)
    if found is None:
        raise LabError(f"the firmware finds no {what}: there is no {' or '.join(paths)} on the boot partition")
    return found


def _initramfs(partition: BootPartition, prefix: str, settings: Settings, kernel: str) -> tuple[str, ...]:
    """initramfs NAME[,NAME...] [ADDRESS], ramfsfile=NAME[,NAME...], or by the kernel's name (auto_initramfs).

    The address may be missing: Debian's package raspi-firmware leaves it out, and its systems boot.
    """
    explicit, file = settings.get("initramfs"), settings.get("ramfsfile")
    automatic = settings.get("auto_initramfs", "0") == "1"
    if (bool(explicit), bool(file), automatic).count(True) > 1:
        raise UnclearError("several of initramfs, ramfsfile and auto_initramfs are set")
    if automatic:
        path = _automatic_initramfs(kernel)
        return (path,) if partition.exists(path) else ()
    if file and not settings.get("ramfsaddr"):
        raise UnclearError("where ramfsfile goes without ramfsaddr")
    words = explicit.split()
    if len(words) > 2 or (len(words) == 2 and not re.fullmatch(r"followkernel|0|0x[0-9a-fA-F]+", words[1])):
        raise UnclearError(f"initramfs {explicit!r} is not of the documented form")
    names = words[0] if words else file
    return tuple(_first_file(partition, prefix, (name,), "initramfs") for name in names.split(",") if name)


def _automatic_initramfs(kernel: str) -> str:
    """kernel8.img -> initramfs8, kernel_2712.img -> initramfs_2712; other kernels' rule is not documented."""
    folder, slash, name = kernel.rpartition("/")
    match = re.fullmatch(r"kernel(|7|7l|8|_2712)\.img", name.lower())
    if match is None:
        raise UnclearError(f"which initramfs auto_initramfs loads for the kernel {kernel}")
    return f"{folder}{slash}initramfs{match[1]}"


def _command_line(partition: BootPartition, prefix: str, settings: Settings) -> str:
    path = _path(prefix, settings.get("cmdline", CMDLINE))
    if not partition.exists(path):
        return ""
    lines = partition.read(path).decode("utf-8", "surrogateescape").split("\n")
    if not lines[0].strip() and any(line.strip() for line in lines):
        raise UnclearError(f"{path} starts with an empty line")
    return lines[0].strip()


class FatImage:
    """The FAT file system at an offset of a disk image, read with mtools; `names` are the paths of all its files."""

    def __init__(self, image: Path, offset_bytes: int) -> None:
        self._drive = f"{image}@@{offset_bytes}"
        self.names = tuple(self._list())
        self._lower = {name.lower() for name in self.names}

    def exists(self, path: str) -> bool:
        return path.lower().strip("/") in self._lower

    def read(self, path: str) -> bytes:
        """The content of a file. Raises LabError where there is none or the file system is damaged."""
        return self._run("mtype", "-i", self._drive, f"::/{path}")

    def extract(self, path: str, target: Path) -> None:
        """The file is at `target` on this machine."""
        self._run("mcopy", "-n", "-o", "-i", self._drive, f"::/{path}", str(target))

    def _list(self) -> list[str]:
        lines = self._run("mdir", "-/", "-b", "-i", self._drive, "::/").decode("utf-8", "surrogateescape").splitlines()
        return [line.removeprefix("::/") for line in lines if not line.endswith("/")]

    @staticmethod
    def _run(*argv: str) -> bytes:
        done = subprocess.run(
            argv, capture_output=True, env={"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin"}, check=False
        )
        if done.returncode != 0:
            raise LabError(f"{argv[0]} cannot read the boot partition: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout
