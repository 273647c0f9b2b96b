# SPDX-License-Identifier: Apache-2.0
"""A device in a folder: what its kernel shows in /proc and /sys, and the files of its modules."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Mapping
from pathlib import Path

from balena_migrate.core.system import System

RELEASE = "6.1.0-test"
DISK = "devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0"
"""Where sysfs has the disk sda, below /sys."""

DEPENDENCIES = """\
kernel/drivers/ata/ahci.ko: kernel/drivers/ata/libahci.ko kernel/drivers/ata/libata.ko kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/ata/libahci.ko: kernel/drivers/ata/libata.ko kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/ata/libata.ko: kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/scsi/scsi_mod.ko:
kernel/drivers/scsi/sd_mod.ko.gz: kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/watchdog/i6300esb.ko:
kernel/drivers/net/e1000.ko:
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko
kernel/fs/jbd2/jbd2.ko:
kernel/fs/mbcache.ko:
kernel/fs/fat/fat.ko:
kernel/fs/fat/vfat.ko: kernel/fs/fat/fat.ko
kernel/fs/nls/nls_ascii.ko:
kernel/crypto/crc32c_generic.ko:
kernel/arch/x86/crypto/crc32c-intel.ko:
"""
ALIASES = """\
# Aliases extracted from modules themselves.
alias crypto-crc32c crc32c_generic
alias crc32c crc32c_generic
alias crypto-crc32c crc32c_intel
alias crc32c crc32c_intel
alias fs-ext4 ext4
"""
LOADED = ("ahci", "libahci", "libata", "scsi_mod", "sd_mod", "ext4", "jbd2", "mbcache", "i6300esb", "e1000")


def make_device(root: Path, *, loaded: tuple[str, ...] = LOADED, file_systems: tuple[str, ...] = ("ext4",)) -> System:
    """A PC with its root on an AHCI disk; every driver is a module."""
    write(root, "proc/modules", "".join(f"{name} 16384 0 - Live 0x0000000000000000\n" for name in loaded))
    write(root, "proc/filesystems", "nodev\tsysfs\n" + "".join(f"\t{name}\n" for name in file_systems))
    block = root / "sys" / DISK / "block/sda/sda1"
    block.mkdir(parents=True)
    link(root / "sys/class/block/sda1", block)
    for place, driver in ((DISK, "sd_mod"), (DISK.partition("/ata1")[0], "ahci")):
        folder = root / "sys/bus/drivers" / driver
        folder.mkdir(parents=True)
        link(root / "sys" / place / "driver", folder)
        (root / "sys/module" / driver).mkdir(parents=True)
        link(folder / "module", root / "sys/module" / driver)
    make_modules(root)
    return System(root)


def make_modules(root: Path, contents: Mapping[str, bytes] | None = None) -> None:
    """The files of the modules, and depmod's index of them."""
    folder = root / "lib/modules" / RELEASE
    for name, text in {
        "modules.dep": DEPENDENCIES,
        "modules.alias": ALIASES,
        "modules.softdep": "softdep ext4 pre: crc32c\nsoftdep jbd2 post: does-not-exist\n",
        "modules.builtin": "kernel/fs/configfs/configfs.ko\n",
    }.items():
        write(folder, name, text)
    for line in DEPENDENCIES.splitlines():
        path = line.partition(":")[0]
        name = path.rpartition("/")[2].partition(".")[0]
        content = (contents or {}).get(name, f"the module {name}".encode())
        packed = gzip.compress(content) if path.endswith(".gz") else content
        packed = lzma.compress(content) if path.endswith(".xz") else packed
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(packed)


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def link(path: Path, target: Path) -> None:
    """A relative link, as sysfs has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    common = next(parent for parent in path.parents if target.is_relative_to(parent))
    ups = len(path.parent.relative_to(common).parts)
    path.symlink_to(Path(*[".."] * ups) / target.relative_to(common))
