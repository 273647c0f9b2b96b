# SPDX-License-Identifier: Apache-2.0
"""SD cards of virtual Raspberry Pis: Debian for the board's processor on a FAT boot partition and an ext4 root.

The packages are unpacked and not installed: no program of a foreign processor runs until the virtual Pi itself starts,
which saves most of an hour. So the old system has an init of its own (pi_init.sh) and a first initramfs of its own
(pi_boot.sh); kernel, modules, mkinitramfs and all other programs are Debian's, and the firmware files too.
"""

from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.core.system import System
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import SUITE, fetch_packages
from balena_migrate.workstation.lab.disks import MIB, SECTOR_BYTES, Span, mounted, require_file

COMPONENTS = "main,non-free-firmware"

CARD_BYTES = 2048 * MIB
"""QEMU takes cards whose size is a power of two."""
BOOT = Span(start_bytes=4 * MIB, size_bytes=256 * MIB)
ROOT = Span(start_bytes=260 * MIB, size_bytes=CARD_BYTES - 260 * MIB)
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
FIRMWARE_FILES = ("bootcode.bin", "start.elf", "fixup.dat")

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PiGuest:
    """A virtual Raspberry Pi and its old system.

    `device_trees` maps the names on the boot partition to those of Debian's kernel package; `arguments` come to
    the command line of every kernel, the new system's too, because of QEMU alone, as the firmware adds some of its own.
    """

    name: str
    board: Board
    machine: str
    program: str
    memory_mib: int
    architecture: str
    kernel_package: str
    config_txt: str
    device_trees: Mapping[str, str]
    arguments: str = ""
    clock: tuple[str, ...] = ()
    """QEMU's options for the machine's clock."""
    userland: str = ""
    """Debian's architecture of the user land, where it is another than the kernel's."""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def kernel_name(self) -> str:
        """The kernel's name on the boot partition: the one that the board's firmware looks for."""
        if self.architecture == "arm64":
            return "kernel8.img"
        return "kernel.img" if self.board.chip is Chip.BCM2835 else "kernel7.img"

    @property
    def command_line(self) -> str:
        return f"console=ttyAMA0,115200 root=PARTUUID={TABLE_ID.removeprefix('0x')}-02 rootfstype=ext4 rootwait"


# As Raspberry Pi OS has them: filters, an initramfs found by the kernel's name, and a last section of another board.
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

ONE_PROCESSOR = "maxcpus=1"
"""Four translated processors on a busy machine spend their time waiting for each other."""

RASPBERRYPI3_64 = PiGuest(
    name="raspberrypi3-64",
    board=Board(model=Model.THREE_B, chip=Chip.BCM2837, memory_bytes=1024 * MIB),
    machine="raspi3b",
    program="qemu-system-aarch64",
    memory_mib=1024,
    architecture="arm64",
    kernel_package="linux-image-arm64",
    config_txt=_CONFIG_TXT.format(more="arm_64bit=1\n"),
    device_trees={"bcm2710-rpi-3-b.dtb": "broadcom/bcm2837-rpi-3-b.dtb"},
    arguments=ONE_PROCESSOR,
)
RASPBERRYPI2 = PiGuest(
    name="raspberrypi2",
    board=Board(model=Model.TWO_B, chip=Chip.BCM2836, memory_bytes=1024 * MIB),
    machine="raspi2b",
    program="qemu-system-arm",
    memory_mib=1024,
    architecture="armhf",
    kernel_package="linux-image-armmp",
    config_txt=_CONFIG_TXT.format(more=""),
    device_trees={"bcm2709-rpi-2-b.dtb": "bcm2836-rpi-2-b.dtb"},
    arguments=ONE_PROCESSOR,
)
RASPBERRYPI_ZERO = PiGuest(
    name="raspberrypi-zero",
    board=Board(model=Model.ZERO, chip=Chip.BCM2835, memory_bytes=512 * MIB),
    machine="raspi0",
    program="qemu-system-arm",
    memory_mib=512,
    architecture="armel",
    kernel_package="linux-image-rpi",
    config_txt=_CONFIG_TXT.format(more=""),
    device_trees={"bcm2708-rpi-zero.dtb": "bcm2835-rpi-zero.dtb"},
    # QEMU's machine has no power controller of the form that this driver looks for: the kernel would hang.
    arguments="initcall_blacklist=bcm2835_pm_driver_init",
    # The board's only timer fires when its counter is equal to what the kernel wrote: where this machine halts QEMU
    # just then, the next time is 71 minutes away. So the board's clock counts its instructions, 4 ns for each.
    clock=("-icount", "shift=2,sleep=off"),
)
PI_GUESTS = (RASPBERRYPI3_64, RASPBERRYPI2, RASPBERRYPI_ZERO)


def build_card(guest: PiGuest, cache: Path, progress: Progress) -> Path:
    """The card of a virtual Pi that was never started, in the cache: it is copied and not changed."""

    def make(folder: Path) -> None:
        trees = [_unpack(architecture, cache, progress) for architecture in _architectures(guest)]
        progress(f"making the SD card of {guest.name}")
        _make_card(guest, trees, folder)

    recipe = (guest, resource("pi_init.sh"), resource("pi_boot.sh"), PACKAGES, FIRST_MODULES)
    return cached(cache, f"{guest.name}-card", recipe, make) / "card.img"


def _architectures(guest: PiGuest) -> tuple[str, ...]:
    """User land's architecture, and the kernel's where that is another one."""
    return tuple(dict.fromkeys((guest.userland or guest.architecture, guest.architecture)))


KERNEL_PACKAGES = {guest.architecture: guest.kernel_package for guest in PI_GUESTS}


def _unpack(architecture: str, cache: Path, progress: Progress) -> Path:
    """A tar file with all files of the packages."""
    packages = (*PACKAGES, KERNEL_PACKAGES[architecture])

    def make(folder: Path) -> None:
        progress(f"fetching Debian's packages for {architecture}")
        options = ["--variant=extract", f"--components={COMPONENTS}"]
        options += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
        fetch_packages(architecture, packages, folder / "root.tar", options=options)

    return cached(cache, f"debian-{architecture}-packages", (SUITE, packages), make) / "root.tar"


def _make_card(guest: PiGuest, trees: list[Path], folder: Path) -> None:
    card, boot = folder / "card.img", folder / "boot"
    _make_table(card)
    system = System()
    offset = f"offset={ROOT.start_bytes},lazy_itable_init=1,nodiscard"
    size = f"{ROOT.size_bytes // 1024}k"
    system.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "rootfs", "-U", ROOT_UUID, "-E", offset, card, size])
    with mounted(card, ROOT) as root:
        system.run(["tar", "-x", "-f", trees[0], "-C", root, "--numeric-owner"])
        for tree in trees[1:]:
            _replace_kernel(root, tree)
        _complete_root(guest, root)
        boot.mkdir()
        _make_boot_files(guest, root, boot, folder / "first")
    make_fat(card, BOOT, boot)
    shutil.rmtree(boot)
    shutil.rmtree(folder / "first")


def _make_table(card: Path) -> None:
    """An MBR as on every Raspberry Pi OS card: FAT32, then Linux."""
    with card.open("xb") as file:
        file.truncate(CARD_BYTES)
    spans = ((BOOT, "c"), (ROOT, "83"))
    rows = [f"start={s.start_bytes // SECTOR_BYTES}, size={s.size_bytes // SECTOR_BYTES}, type={t}" for s, t in spans]
    script = "\n".join(["label: dos", f"label-id: {TABLE_ID}", *rows]) + "\n"
    System().run(["sfdisk", "--quiet", "--no-reread", require_file(card)], data=script.encode())


def make_fat(card: Path, span: Span, folder: Path) -> None:
    """A FAT32 file system in the partition, which holds what is in the folder."""
    system = System()
    offset, size = span.start_bytes // SECTOR_BYTES, span.size_bytes // 1024
    # Clusters of 2 KiB: with fewer than 65525 of them it would be FAT16 by the rules, whatever its header says.
    argv = ["mkfs.vfat", "-F", "32", "-s", "4", "-n", "bootfs", "-i", BOOT_ID, "--offset", str(offset)]
    system.run([*argv, require_file(card), str(size)])
    system.run(["mcopy", "-s", "-i", f"{card}@@{span.start_bytes}", *sorted(folder.iterdir()), "::/"])


def _replace_kernel(root: Path, tree: Path) -> None:
    """The kernel and modules of another architecture, in place of user land's own: 64-bit below 32-bit."""
    for name in ("boot", "usr/lib/modules"):
        shutil.rmtree(root / name)
    System().run(
        ["tar", "-x", "-f", tree, "-C", root, "./boot", "./usr/lib/modules", "--wildcards", "./usr/lib/linux-*"]
    )


def _complete_root(guest: PiGuest, root: Path) -> None:
    """What the packages' own scripts would have done, as far as a rehearsal needs it."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / f"etc/{name}")
    files = {
        "etc/fstab": f"PARTUUID={TABLE_ID.removeprefix('0x')}-01 {BOOT_FOLDER} vfat defaults 0 2\n",
        "etc/hostname": "lab\n",
        # The modules of this machine only, packed fast: QEMU is slow.
        "etc/initramfs-tools/conf.d/lab": "MODULES=dep\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n",
        **guest.files,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
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


def _make_boot_files(guest: PiGuest, root: Path, boot: Path, work: Path) -> None:
    release = _kernel_release(root)
    shutil.copy(root / f"boot/vmlinuz-{release}", boot / guest.kernel_name)
    initramfs = guest.kernel_name.removesuffix(".img").replace("kernel", "initramfs")
    (boot / initramfs).write_bytes(_make_first_initramfs(root, release, work))
    (boot / "config.txt").write_text(guest.config_txt)
    (boot / "cmdline.txt").write_text(guest.command_line + "\n")
    for name, source in guest.device_trees.items():
        shutil.copy(root / f"usr/lib/linux-image-{release}/{source}", boot / name)
    for name in FIRMWARE_FILES:
        shutil.copy(root / "usr/lib/raspi-firmware" / name, boot / name)


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
    """The first modules and those they need, in the order to load them, without what the kernel has built in."""
    found: dict[Path, None] = {}
    for name in FIRST_MODULES:
        argv: list[str | Path] = ["modprobe", "-d", root, "-S", release, "--show-depends", name]
        lines = System().run(argv, ok=(0, 1)).text.splitlines()
        found.update({Path(line.split()[1]): None for line in lines if line.startswith("insmod ")})
    return found


def resource(name: str) -> str:
    """The text of a file of this package."""
    return importlib.resources.files(__package__).joinpath(name).read_text()
