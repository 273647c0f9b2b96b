# SPDX-License-Identifier: Apache-2.0
"""The GRUB that a PC image ships: boot code for the disk's start with its files in /grub, a program in /EFI/BOOT."""

from __future__ import annotations

import importlib.resources
import tempfile
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.system import System

BOOT_CODE_BYTES = 446
_CORE_MODULES = ("biosdisk", "part_msdos", "fat", "search", "linux")
_EFI_FOLDER = "EFI/BOOT"
_EFI_MODULES = (
    *("boot", "linux", "normal", "configfile", "loadenv", "test", "echo", "probe", "regexp", "search", "serial"),
    *("part_msdos", "part_gpt", "fat", "ext2"),
)
"""All that grub.cfg needs: an image has no modules for UEFI beside the program."""
_CORE_CONFIG = "set root=hd0,msdos1\nset prefix=($root)/grub\n"
_ENVIRONMENT = ("bootcount=0", "resin_root_part=2", "upgrade_available=0")
_ENVIRONMENT_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class GrubCode:
    """`boot` goes to byte 0 of the disk (446 bytes), `core` to byte 512."""

    boot: bytes
    core: bytes


def make_boot_code(modules: Path) -> GrubCode:
    """boot.img and core.img as in balenaOS's images: they look for /grub on the first partition of the BIOS's hd0."""
    with tempfile.TemporaryDirectory() as name:
        config, core = Path(name, "core.cfg"), Path(name, "core.img")
        config.write_text(_CORE_CONFIG)
        options: list[str | Path] = ["-O", "i386-pc", "-p", "/grub", "-d", modules, "-c", config, "-o", core]
        System().run(["grub-mkimage", *options, *_CORE_MODULES])
        return GrubCode(boot=(modules / "boot.img").read_bytes(), core=core.read_bytes())


def grub_files(modules: Path, code: GrubCode) -> dict[str, bytes]:
    """The files below /grub in resin-boot."""
    files = {
        "grub/boot.img": code.boot,
        "grub/core.img": code.core,
        **_configuration("grub"),
    }
    for path in sorted([*modules.glob("*.mod"), *modules.glob("*.lst")]):
        files[f"grub/i386-pc/{path.name}"] = path.read_bytes()
    return files


def efi_files(modules: Path) -> dict[str, bytes]:
    """The files below /EFI in resin-boot: what a firmware starts without a boot entry, and its configuration."""
    with tempfile.TemporaryDirectory() as name:
        program = Path(name, "bootx64.efi")
        options: list[str | Path] = ["-O", "x86_64-efi", "-p", f"/{_EFI_FOLDER}", "-d", modules, "-o", program]
        System().run(["grub-mkimage", *options, *_EFI_MODULES])
        return {f"{_EFI_FOLDER}/bootx64.efi": program.read_bytes(), **_configuration(_EFI_FOLDER)}


def _configuration(folder: str) -> dict[str, bytes]:
    return {
        f"{folder}/grub.cfg": importlib.resources.files(__package__).joinpath("grub.cfg").read_bytes(),
        f"{folder}/grubenv": environment_block(),
        f"{folder}/grub_extraenv": b"",
    }


def environment_block() -> bytes:
    """GRUB's environment block: 1024 bytes, padded with "#"."""
    text = "# GRUB Environment Block\n" + "".join(f"{line}\n" for line in _ENVIRONMENT)
    return text.encode().ljust(_ENVIRONMENT_BYTES, b"#")
