# SPDX-License-Identifier: Apache-2.0
"""SD cards of virtual Raspberry Pis: Debian for the board's processor, a FAT boot partition, an ext4 root file system.

The packages are unpacked, not installed: no program of a foreign architecture runs until the virtual Pi itself starts,
which saves most of an hour. So the old system has an init of its own (pi_init.sh) and a first initramfs of its own
(pi_boot.sh); kernel, modules, mkinitramfs, all other programs and the firmware files are Debian's.
"""

from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from balena_migrate.bootloaders.raspberrypi.board import Chip
from balena_migrate.core.errors import LabError
from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB, SECTOR_BYTES
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import SUITE, fetch_packages
from balena_migrate.workstation.lab.disks import (
    LINUX,
    FileSystem,
    Span,
    make_ext4,
    make_table,
    mounted,
    place,
    require_file,
)
from balena_migrate.workstation.lab.guests import FASTER_KERNEL, Guest, GuestDisk, initramfs_files, put_files
from balena_migrate.workstation.lab.machines.raspberrypi.machine import (
    RASPI0,
    RASPI2B,
    RASPI3B,
    PiMachine,
)
from balena_migrate.workstation.mtools import FatDrive

COMPONENTS = "main,non-free-firmware"

BOOT = Span(start_bytes=4 * MIB, size_bytes=256 * MIB)  # as on every card of Raspberry Pi OS
TABLE_ID = "0x7b1f3a60"
BOOT_ID = "4c1d9e07"
ROOT_UUID = "b2c5e8a1-6d34-4f0b-9a7e-13d2c46f5b80"
BOOT_FOLDER = "/boot/firmware"

PACKAGES = (
    *(
        "base-files",
        "base-passwd",
        "bash",
        "dash",
        "libc-bin",
        "debianutils",
        "diffutils",
        "hostname",
        "coreutils",
        "util-linux",
        "mount",
        "procps",
        "grep",
        "sed",
        "mawk",
    ),
    *("findutils", "tar", "gzip", "zstd", "dpkg", "kmod", "udev", "e2fsprogs", "busybox-static", "initramfs-tools"),
    "raspi-firmware",
)
FIRST_MODULES = ("bcm2835_dma", "gpio_regulator", "fixed", "sdhci_iproc", "bcm2835", "mmc_block", "ext4")
FIRST_INITRAMFS = "built-in-drivers"
INITRAMFS_PROGRAMS = ("mkinitramfs", "update-initramfs")
FIRMWARE_FILES = ("bootcode.bin", "start.elf", "fixup.dat")
ROOT_FILES = {
    "etc/fstab": f"PARTUUID={TABLE_ID.removeprefix('0x')}-01 {BOOT_FOLDER} vfat defaults 0 2\n",
    "etc/hostname": "lab\n",
    **initramfs_files(FIRST_MODULES),
}


@dataclass(frozen=True, kw_only=True)
class DebianPi(Guest):
    """A Raspberry Pi's card. `device_trees` maps names on the boot partition to those in Debian's kernel package;
    `userland` is Debian's architecture of user space, if it differs from the kernel's."""

    boot_folder: str = BOOT_FOLDER.lstrip("/")
    old_names: tuple[str, ...] = (ROOT_UUID, TABLE_ID.removeprefix("0x"))
    disk_mib: int = 2048
    reboot: str = "reboot"
    power_off: str = "poweroff"
    settings: Mapping[str, str] = field(default_factory=lambda: {"DO_REBOOT": "FALSE"})
    """The old system's init does not stop running programs: the root file system would not be clean."""
    machine: PiMachine
    kernel_package: str
    config_txt: str
    device_trees: Mapping[str, str]
    userland: str = ""
    built_in: bool = False
    """The old system starts without an initramfs, and has no tools to make one, as Raspberry Pi OS up to 11: the root
    is /dev/root to it. Debian's kernel has the drivers as modules, so QEMU gives it those in place of built-in ones."""

    @property
    def kernel_name(self) -> str:
        """The kernel's name on the boot partition, as the board's firmware expects it."""
        if self.architecture == "arm64":
            return "kernel8.img"
        return "kernel.img" if self.machine.board.chip is Chip.BCM2835 else "kernel7.img"

    @property
    def command_line(self) -> str:
        root = f"root=PARTUUID={TABLE_ID.removeprefix('0x')}-02 rootfstype=ext4 rootwait"
        return f"console=ttyAMA0,115200 {root} {FASTER_KERNEL}"

    def build(self, disk_mib: int, cache: Path, say: Say) -> GuestDisk:
        """Build the card without booting it."""
        if disk_mib & (disk_mib - 1):
            raise LabError(f"the size of an SD card in QEMU must be a power of two; {disk_mib} MiB is not")
        root = Span(
            start_bytes=BOOT.start_bytes + BOOT.size_bytes,
            size_bytes=disk_mib * MIB - BOOT.start_bytes - BOOT.size_bytes,
        )

        def make(folder: Path) -> None:
            trees = [_unpack(architecture, cache, say) for architecture in _architectures(self)]
            say(f"creating the SD card of {self.name}")
            _make_card(self, trees, folder, root)

        content = (PACKAGES, FIRST_MODULES, ROOT_FILES, resource("pi_init.sh"), resource("pi_boot.sh"))
        recipe = (self, self.command_line, disk_mib, content)
        made = cached(cache, f"{self.name}-card", recipe, make)
        machine = replace(self.machine, built_in=made / FIRST_INITRAMFS) if self.built_in else self.machine
        boot = FileSystem(span=BOOT, folder=self.boot_folder, fat=True)
        return GuestDisk(disk=made / "card.img", machine=machine, file_systems=(FileSystem(span=root), boot))


# As in Raspberry Pi OS: filters, an initramfs found by the kernel's name, and a last section for another board.
_CONFIG_TXT = """\
# For more options and information see http://rptl.io/configtxt
dtparam=audio=on
camera_auto_detect=1

# Automatically load initramfs files, if found
auto_initramfs=1
{more}
[cm4]
otg_mode=1

[pi4]
arm_boost=1"""

RASPBERRYPI3_64 = DebianPi(
    name="raspberrypi3-64",
    machine=RASPI3B,
    memory_mib=RASPI3B.memory_mib,
    architecture="arm64",
    kernel_package="linux-image-arm64",
    config_txt=_CONFIG_TXT.format(more="arm_64bit=1\n"),
    device_trees={"bcm2710-rpi-3-b.dtb": "broadcom/bcm2837-rpi-3-b.dtb"},
)
RASPBERRYPI2 = DebianPi(
    name="raspberrypi2",
    machine=RASPI2B,
    memory_mib=RASPI2B.memory_mib,
    architecture="armhf",
    kernel_package="linux-image-armmp",
    config_txt=_CONFIG_TXT.format(more=""),
    device_trees={"bcm2709-rpi-2-b.dtb": "bcm2836-rpi-2-b.dtb"},
)
RASPBERRYPI_ZERO = DebianPi(
    name="raspberrypi-zero",
    machine=RASPI0,
    memory_mib=RASPI0.memory_mib,
    architecture="armel",
    kernel_package="linux-image-rpi",
    config_txt=_CONFIG_TXT.format(more=""),
    device_trees={"bcm2708-rpi-zero.dtb": "bcm2835-rpi-zero.dtb"},
)
RASPBERRYPI3_64_BUILT_IN = replace(RASPBERRYPI3_64, name="raspberrypi3-64-built-in", built_in=True)
PI_GUESTS = (RASPBERRYPI3_64, RASPBERRYPI2, RASPBERRYPI_ZERO)


def _architectures(guest: DebianPi) -> tuple[str, ...]:
    """The architecture of user space, and the kernel's if it differs."""
    return tuple(dict.fromkeys((guest.userland or guest.architecture, guest.architecture)))


KERNEL_PACKAGES = {guest.architecture: guest.kernel_package for guest in PI_GUESTS}


def _unpack(architecture: str, cache: Path, say: Say) -> Path:
    """A tar file of all the packages' files."""
    packages = (*PACKAGES, KERNEL_PACKAGES[architecture])

    def make(folder: Path) -> None:
        say(f"fetching Debian's packages for {architecture}")
        options = ["--variant=extract", f"--components={COMPONENTS}"]
        options += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
        fetch_packages(architecture, packages, folder / "root.tar", options=options)

    return cached(cache, f"debian-{architecture}-packages", (SUITE, packages), make) / "root.tar"


def _make_card(guest: DebianPi, trees: list[Path], folder: Path, span: Span) -> None:
    card, boot = folder / "card.img", folder / "boot"
    _make_table(card, span)
    system = System()
    make_ext4(card, span, label="rootfs", uuid=ROOT_UUID)
    with mounted(card, span) as root:
        system.run(["tar", "-x", "-f", trees[0], "-C", root, "--numeric-owner"])
        for tree in trees[1:]:
            _replace_kernel(root, tree)
        _complete_root(root)
        boot.mkdir()
        _make_boot_files(guest, root, boot, folder / "first")
        if guest.built_in:
            shutil.move(boot / _first_name(guest), folder / FIRST_INITRAMFS)
            for name in INITRAMFS_PROGRAMS:
                (root / "usr/sbin" / name).unlink()
    make_fat(card, BOOT, boot)
    shutil.rmtree(boot)
    shutil.rmtree(folder / "first")


def _make_table(card: Path, root: Span) -> None:
    """An MBR as on every Raspberry Pi OS card: FAT32, then Linux."""
    rows = [f"{place(BOOT)}, type=c", f"{place(root)}, type={LINUX}"]
    make_table(card, root.start_bytes + root.size_bytes, ["label: dos", f"label-id: {TABLE_ID}", *rows])


def make_fat(card: Path, span: Span, folder: Path) -> None:
    """Create a FAT32 file system in the partition, with the folder's content."""
    offset, size = span.start_bytes // SECTOR_BYTES, span.size_bytes // 1024
    # Clusters of 2 KiB: by the specification, fewer than 65525 clusters make it FAT16, whatever its header says.
    argv = ["mkfs.vfat", "-F", "32", "-s", "4", "-n", "bootfs", "-i", BOOT_ID, "--offset", str(offset)]
    System().run([*argv, require_file(card), str(size)])
    FatDrive(image=card, offset_bytes=span.start_bytes).copy_in(sorted(folder.iterdir()))


def _replace_kernel(root: Path, tree: Path) -> None:
    """Replace the kernel and modules by those of another architecture: a 64-bit kernel for 32-bit user space."""
    for name in ("boot", "usr/lib/modules"):
        shutil.rmtree(root / name)
    System().run(
        ["tar", "-x", "-f", tree, "-C", root, "./boot", "./usr/lib/modules", "--wildcards", "./usr/lib/linux-*"]
    )


def _complete_root(root: Path) -> None:
    """Do what the packages' own scripts would have done, as far as a rehearsal needs it."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    put_files(root, ROOT_FILES)
    (root / BOOT_FOLDER.lstrip("/")).mkdir(parents=True)
    for name in ("init", "reboot", "poweroff"):
        (root / "usr/sbin" / name).write_text(resource("pi_init.sh"))
        (root / "usr/sbin" / name).chmod(0o755)
    (root / "usr/bin/awk").symlink_to("mawk")
    release = _kernel_release(root)
    System().run(["depmod", "-b", root, "-F", root / f"boot/System.map-{release}", release])


def _kernel_release(root: Path) -> str:
    (kernel,) = root.glob("boot/vmlinuz-*")
    return kernel.name.removeprefix("vmlinuz-")


def _make_boot_files(guest: DebianPi, root: Path, boot: Path, work: Path) -> None:
    release = _kernel_release(root)
    shutil.copy(root / f"boot/vmlinuz-{release}", boot / guest.kernel_name)
    (boot / _first_name(guest)).write_bytes(_make_first_initramfs(root, release, work))
    (boot / "config.txt").write_text(guest.config_txt)
    (boot / "cmdline.txt").write_text(guest.command_line + "\n")
    for name, source in guest.device_trees.items():
        shutil.copy(root / f"usr/lib/linux-image-{release}/{source}", boot / name)
    for name in FIRMWARE_FILES:
        shutil.copy(root / "usr/lib/raspi-firmware" / name, boot / name)


def _first_name(guest: DebianPi) -> str:
    """Where the firmware looks for an initramfs with auto_initramfs=1."""
    return guest.kernel_name.removesuffix(".img").replace("kernel", "initramfs")


def _make_first_initramfs(root: Path, release: str, work: Path) -> bytes:
    (work / "bin").mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", work / "bin/busybox")
    (work / "init").write_text(resource("pi_boot.sh"))
    (work / "init").chmod(0o755)
    modules = list(_module_files(root, release))
    for module in modules:
        shutil.copy(module, work / module.name)
    (work / "modules").write_text("".join(f"/{module.name}\n" for module in modules))
    names = "".join(f"{path.relative_to(work)}\n" for path in sorted(work.rglob("*")))
    system = System()
    archive = system.run(["cpio", "--quiet", "-o", "-H", "newc", "-D", work], data=names.encode()).stdout
    return system.run(["gzip", "-1"], data=archive).stdout


def _module_files(root: Path, release: str) -> Iterable[Path]:
    """The first modules and their dependencies in load order, without those built into the kernel."""
    found: dict[Path, None] = {}
    for name in FIRST_MODULES:
        argv: list[str | Path] = ["modprobe", "-d", root, "-S", release, "--show-depends", name]
        lines = System().run(argv, ok=(0, 1)).text.splitlines()
        found.update({Path(line.split()[1]): None for line in lines if line.startswith("insmod ")})
    return found


def resource(name: str) -> str:
    """The text of a file in this package."""
    return importlib.resources.files(__package__).joinpath(name).read_text()
