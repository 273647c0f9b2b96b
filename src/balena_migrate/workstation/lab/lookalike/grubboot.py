# SPDX-License-Identifier: Apache-2.0
"""The GRUB that a PC image ships: boot code for the disk's start, configuration and modules for /grub."""

from __future__ import annotations

import importlib.resources
import tempfile
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.system import System

BOOT_CODE_BYTES = 446
_CORE_MODULES = ("biosdisk", "part_msdos", "fat", "search", "linux")
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
        "grub/grub.cfg": importlib.resources.files(__package__).joinpath("grub.cfg").read_bytes(),
        "grub/grubenv": environment_block(),
        "grub/grub_extraenv": b"",
    }
    for path in sorted([*modules.glob("*.mod"), *modules.glob("*.lst")]):
        files[f"grub/i386-pc/{path.name}"] = path.read_bytes()
    return files


def environment_block() -> bytes:
    """GRUB's environment block: 1024 bytes, padded with "#"."""
    text = "# GRUB Environment Block\n" + "".join(f"{line}\n" for line in _ENVIRONMENT)
    return text.encode().ljust(_ENVIRONMENT_BYTES, b"#")
