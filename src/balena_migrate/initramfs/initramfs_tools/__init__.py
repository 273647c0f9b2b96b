# SPDX-License-Identifier: Apache-2.0
"""initramfs-tools: the device's own mkinitramfs makes the initramfs, with our hook and our one script.

Its configuration is a copy of the device's /etc/initramfs-tools, which is known to boot this device.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from balena_migrate.core.blockdev import find_kernel_name
from balena_migrate.core.errors import CommandError, FileError
from balena_migrate.core.mountinfo import read_mountinfo
from balena_migrate.core.paths import INITRAMFS_CONFIG, WORK_DIR
from balena_migrate.core.system import BLOCK_BYTES, System, errors_at
from balena_migrate.core.units import MIB
from balena_migrate.findings import Code
from balena_migrate.initramfs import InitramfsSize, Needs, Recipe, WayBack
from balena_migrate.initramfs._cpio import read_names
from balena_migrate.settings import InitramfsName

DEVICE_CONFIG = "/etc/initramfs-tools"
HOOK = "hooks/balena-init"
SCRIPT = "scripts/local-bottom/balena-stage2-default"
OUR_FOLDER = "balena-migrate"

IN_INITRAMFS = (
    "balena-migrate/base/stage2",
    "etc/balena-migrate-stage2.conf",
    SCRIPT,
    "scripts/local-bottom/ORDER",
)
"""Without each of these the initramfs would just boot the old system. ORDER names the scripts to run; mkinitramfs
leaves it out where its temporary folder is mounted noexec."""

PACKED = "COMPRESS=gzip\nCOMPRESSLEVEL=\n"
"""A form that every kernel unpacks, and that we can read to see what is in it (initramfs.conf(5))."""
ONLY_NEEDED = "MODULES=dep\n"
"""For a small boot partition: the kernel modules of this machine alone (initramfs.conf(5))."""
SETTINGS = "conf.d/zz-balena-migrate"

KERNELS_ROOT = "/dev/root"
"""What the kernel calls the root's device where no initramfs has mounted it; there need not be such a file."""

MKINITRAMFS_TIMEOUT_S = 3600

USB_STORAGE = ("usb_storage", "uas", "sd_mod")
"""Modules for a USB stick; mkinitramfs includes only the drivers on the path to the root file system."""
GUESS_BYTES = 64 * MIB
"""Assumed where the running kernel has no initramfs of its own to measure."""
SMALL_BYTES = 16 * MIB
"""With the modules of this machine only, as a small boot partition gets it (measured: less than 10 MiB)."""
UNPACKING = 4
"""It unpacks to at most four times its size (measured with zstd and gzip: 2.4 to 3.3)."""


@dataclass(frozen=True)
class InitramfsTools:
    """The builder of the project's first description."""

    name: InitramfsName = InitramfsName.INITRAMFS_TOOLS
    programs: tuple[str, ...] = ("mkinitramfs",)
    codes: tuple[Code, ...] = ()

    def find(self, system: System, needs: Needs) -> Recipe:
        if needs.small_boot_partition:
            size, how = SMALL_BYTES, "with this machine's modules only"
        else:
            size, how = needs.own_initramfs_bytes or GUESS_BYTES, "as the running kernel's"
        text = "the device's own mkinitramfs makes it (INITRAMFS=initramfs-tools)"
        return Recipe(
            needs=needs,
            text=text,
            size=InitramfsSize(packed_bytes=size, unpacked_bytes=UNPACKING * size),
            size_text=how,
        )

    def build(
        self, system: System, recipe: Recipe, kit_base: Path, handover: bytes, path: str, way_back: WayBack | None
    ) -> InitramfsSize:
        """As InitramfsBuilder has it. There is nothing to put back: whatever stops stage 2, the start of the old system
        goes on, and `undo` is there."""
        needs = recipe.needs
        modules = (*needs.file_systems, *(USB_STORAGE if needs.usb_storage else ()))
        settings = PACKED + (ONLY_NEEDED if needs.small_boot_partition else "")
        write_config(system, kit_base, handover, modules, settings)
        return make_initramfs(system, needs.kernel_release, path)


def write_config(system: System, kit_base: Path, handover: bytes, modules: Iterable[str], settings: str) -> None:
    """INITRAMFS_CONFIG is a configuration folder for mkinitramfs, with stage 2 and its hand-over in it.

    `modules` are kernel modules that are needed besides the device's own choice; `settings` are lines of
    initramfs.conf(5) that come after the device's own. Raises FileError.
    """
    folder = system.real(INITRAMFS_CONFIG)
    try:
        shutil.copytree(system.real(DEVICE_CONFIG), folder, symlinks=True)
        ours = folder / OUR_FOLDER
        ours.mkdir()
        shutil.copytree(kit_base, ours / "base", symlinks=True)
        (ours / "stage2.conf").write_bytes(handover)
        (ours / "modules").write_text(" ".join(sorted(set(modules))) + "\n")
        (folder / SETTINGS).parent.mkdir(exist_ok=True)
        (folder / SETTINGS).write_text(settings)
        for name, source in ((HOOK, "hook.sh"), (SCRIPT, "stub.sh")):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(resources.files(__package__).joinpath(source).read_bytes())
            path.chmod(0o755)
    except (OSError, shutil.Error) as error:
        raise FileError(INITRAMFS_CONFIG, str(error)) from None


def make_initramfs(system: System, kernel_release: str, path: str) -> InitramfsSize:
    """The initramfs is at the path, complete and on the disk; returns its size.

    It is made on the root file system and copied, since mkinitramfs leaves a torn file where a small /boot is full.
    Raises CommandError or FileError; then there is nothing at the path.
    """
    made = f"{WORK_DIR}/initramfs"
    # mkinitramfs runs scripts in its temporary folder, and /tmp may be mounted noexec.
    argv = ["env", f"TMPDIR={WORK_DIR}", "mkinitramfs", "-d", INITRAMFS_CONFIG, "-o", made, kernel_release]
    with root_device_named(system):
        system.run(argv, timeout_s=MKINITRAMFS_TIMEOUT_S)
    unpacked_bytes = check_content(system, made)
    system.copy(made, path)
    system.remove_file(made)
    return InitramfsSize(packed_bytes=system.stat(path).st_size, unpacked_bytes=unpacked_bytes)


@contextlib.contextmanager
def root_device_named(system: System) -> Iterator[None]:
    """/dev/root is a link to the root's device, where the kernel calls it so and there is no such file.

    The kernel does that if it mounted the root itself, without an initramfs (Raspberry Pi OS up to 11). With
    MODULES=dep mkinitramfs looks for the device by that name, and knows no PARTUUID of the command line
    (hook-functions, dep_add_modules_mount). Raises FileError.
    """
    device = find_unnamed_root(system)
    if not device:
        yield
        return
    link = system.real(KERNELS_ROOT, follow=False)
    with errors_at(KERNELS_ROOT):
        link.symlink_to(device)
    try:
        yield
    finally:
        with errors_at(KERNELS_ROOT):
            link.unlink(missing_ok=True)


def find_unnamed_root(system: System) -> str:
    """The kernel's name, "mmcblk0p2", of the root's device, if its mount gives it no file of /dev; else ""."""
    root = next((mount for mount in reversed(read_mountinfo(system)) if mount.mount_point == "/"), None)
    if root is None or root.source != KERNELS_ROOT or system.exists(KERNELS_ROOT):
        return ""
    return find_kernel_name(system, root.device)


def check_content(system: System, path: str) -> int:
    """The size of the initramfs at the path, unpacked. Raises CommandError if it would just boot the old system.

    It is read by our own reader, since the lsinitramfs of Ubuntu 14.04 knows no archives behind the first, such as
    those with the processor's microcode.
    """
    names, unpacked_bytes = read_packed(system, path)
    missing = [name for name in IN_INITRAMFS if PurePosixPath(name) not in names]
    if missing:
        raise CommandError(["mkinitramfs"], 0, f"it made an initramfs without {', '.join(missing)}")
    return unpacked_bytes


def read_packed(system: System, path: str) -> tuple[set[PurePosixPath], int]:
    """The names in an initramfs, archives and behind them one that is packed with gzip; and its size, unpacked.

    Raises FileError if it is damaged; it needs as much room beside it as it takes unpacked.
    """
    unpacked = f"{path}.cpio"
    try:
        with errors_at(path), system.open(path) as file:
            names = set(read_names(file))
            plain_bytes = file.tell()
            with system.replacing(unpacked) as plain:
                shutil.copyfileobj(gzip.GzipFile(fileobj=file), plain, BLOCK_BYTES)
        with system.open(unpacked) as plain:
            return names | set(read_names(plain)), plain_bytes + system.stat(unpacked).st_size
    except (ValueError, EOFError, zlib.error) as error:
        raise FileError(path, f"is no initramfs that we can read: {error}") from None
    finally:
        system.remove_file(unpacked)


BUILDER = InitramfsTools()
