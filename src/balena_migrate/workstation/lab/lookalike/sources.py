# SPDX-License-Identifier: Apache-2.0
"""What look-alikes are made of: a kernel, its modules and a few programs from Debian's packages.

Nothing is run here: the packages are only unpacked, so that those of a foreign architecture need no emulation.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from elftools.elf.elffile import ELFFile

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import SUITE, fetch_packages
from balena_migrate.workstation.elf import find_libraries, read_needs
from balena_migrate.workstation.lab.lookalike.specs import Board

PROGRAMS = ("bin/busybox", "sbin/sfdisk", "sbin/e2fsck", "sbin/resize2fs")
_PC_PROGRAMS = ("bin/efibootmgr",)
_FILE_SYSTEM_MODULES = ("ext4", "crc32c_generic", "vfat", "nls_cp437", "nls_ascii", "nls_utf8")
_PC_MODULES = (
    *("ahci", "ata_piix", "sd_mod", "nvme", "virtio_pci", "virtio_blk", "virtio_scsi"),
    *("sdhci_pci", "mmc_block", "xhci_pci", "ehci_pci", "usb_storage", "uas", "efivarfs"),
)
# Without the watchdog's driver a Pi can neither restart nor halt.
_PI_MODULES = ("bcm2835_dma", "gpio_regulator", "fixed", "sdhci_iproc", "bcm2835", "mmc_block", "bcm2835_wdt")
_UNWANTED = ("dev", "etc", "usr/share", "var")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The packages for one kind of board. Modules that are built into the kernel are not an error."""

    debian_arch: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    programs: tuple[str, ...] = PROGRAMS


PLATFORMS = {
    Board.PC: Platform(
        debian_arch="amd64",
        packages=("linux-image-amd64", "grub-pc-bin", "grub-efi-amd64-bin", "efibootmgr"),
        modules=_PC_MODULES + _FILE_SYSTEM_MODULES,
        programs=PROGRAMS + _PC_PROGRAMS,
    ),
    Board.PC_32: Platform(
        debian_arch="i386",
        packages=("linux-image-686", "grub-pc-bin"),
        modules=_PC_MODULES + _FILE_SYSTEM_MODULES,
    ),
    Board.PI_ARMV6: Platform(
        debian_arch="armel", packages=("linux-image-rpi",), modules=_PI_MODULES + _FILE_SYSTEM_MODULES
    ),
    Board.PI_ARMV7: Platform(
        debian_arch="armhf", packages=("linux-image-armmp",), modules=_PI_MODULES + _FILE_SYSTEM_MODULES
    ),
    Board.PI_ARM64: Platform(
        debian_arch="arm64", packages=("linux-image-arm64",), modules=_PI_MODULES + _FILE_SYSTEM_MODULES
    ),
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """A folder with `vmlinuz`, `root/` (programs, libraries, modules), `dtbs/`, `grub/` and `grub-efi/`."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def grub_modules(self) -> Path:
        return self.folder / "grub"

    @property
    def grub_efi_modules(self) -> Path:
        return self.folder / "grub-efi"

    def device_tree(self, upstream_name: str) -> Path:
        """The device tree with this name in the kernel's sources."""
        return self.folder / "dtbs" / f"{upstream_name}.dtb"


def fetch_sources(board: Board, cache_dir: Path) -> Sources:
    """The sources for a kind of board, fetched once and kept in the cache."""
    platform = PLATFORMS[board]
    recipe = (SUITE, platform)
    return Sources(folder=cached(cache_dir, f"lookalike-{board}", recipe, lambda folder: _make(platform, folder)))


def _make(platform: Platform, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        packages = ("busybox-static", "fdisk", "e2fsprogs", *platform.packages)
        unpack_packages(platform.debian_arch, packages, Path(work))
        _collect(platform, Path(work, "all"), folder)


def unpack_packages(debian_arch: str, packages: Iterable[str], work: Path, unwanted: Iterable[str] = _UNWANTED) -> None:
    """Unpack the packages and their dependencies, without the folders that are not wanted, into `work`/all."""
    options = ("--variant=extract", "--format=tar")
    fetch_packages(debian_arch, tuple(packages), work / "all.tar", options=options)
    (work / "all").mkdir()
    excludes = [f"--exclude=./{name}" for name in unwanted]
    System().run(["tar", "-xf", work / "all.tar", "-C", work / "all", "--no-same-owner", *excludes])
    (work / "all.tar").unlink()


def _collect(platform: Platform, everything: Path, wanted: Path) -> None:
    """Put what look-alikes need into `wanted`."""
    (wanted / "root").mkdir()
    (kernel,) = everything.glob("boot/vmlinuz-*")
    shutil.copy(kernel, wanted / "vmlinuz")
    for name in platform.programs:
        copy_program(everything, everything / name, wanted / "root")
    _copy_modules(platform, everything, wanted / "root")
    (wanted / "dtbs").mkdir()
    for tree in everything.glob("usr/lib/linux-image-*/**/bcm*.dtb"):
        shutil.copy(tree, wanted / "dtbs")
    for name, target in (("i386-pc", "grub"), ("x86_64-efi", "grub-efi")):
        modules = everything / "usr/lib/grub" / name
        if modules.is_dir():
            shutil.copytree(modules, wanted / target)


def copy_program(everything: Path, program: Path, root: Path) -> None:
    """Copy the program, its loader and all its libraries below `root`, where the loader looks for them."""
    find = partial(_find_library, everything)
    target = root / "bin" / program.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, target)
    loader = read_needs(program).loader
    if loader is not None:
        _copy_file(find(Path(loader).name), root / loader.lstrip("/"))
    for name, library in find_libraries([program], find).items():
        _copy_file(library, root / "lib" / name)


def _find_library(everything: Path, name: str) -> Path:
    for folder in ("lib/*-linux-*", "usr/lib/*-linux-*", "lib", "lib64"):
        for found in everything.glob(f"{folder}/{name}"):
            return found
    raise LabError(f"the packages do not contain the library {name}")


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(source, target)
        target.chmod(target.stat().st_mode | stat.S_IXUSR)


def _copy_modules(platform: Platform, everything: Path, root: Path) -> None:
    """Copy the modules and their dependencies below `root`; `modules.list` names them in load order."""
    paths = {path.stem.replace("-", "_"): path for path in everything.glob("lib/modules/*/kernel/**/*.ko")}
    (root / "modules").mkdir()
    order = order_modules((name for name in platform.modules if name in paths), paths)
    for name in order:
        shutil.copy(paths[name], root / "modules" / f"{name}.ko")
    (root / "modules.list").write_text("".join(f"/modules/{name}.ko\n" for name in order))


def order_modules(names: Iterable[str], paths: dict[str, Path]) -> list[str]:
    """The names and their dependencies, each after those it depends on."""
    order: list[str] = []
    for name in names:
        if name not in order:
            order += [item for item in order_modules(_read_depends(paths[name]), paths) if item not in order]
            order.append(name)
    return order


def _read_depends(module: Path) -> list[str]:
    """The modules in a module's `depends=` entry."""
    with module.open("rb") as file:
        (section,) = (item for item in ELFFile(file).iter_sections() if item.name == ".modinfo")
        notes = section.data().split(b"\0")
    (depends,) = (note.removeprefix(b"depends=") for note in notes if note.startswith(b"depends="))
    return [name.replace("-", "_") for name in depends.decode().split(",") if name]
