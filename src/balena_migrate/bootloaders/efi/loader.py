# SPDX-License-Identifier: Apache-2.0
"""UEFI firmware starts stage 2: by a boot entry of our own, which is not in its order, and BootNext, which names it.

The firmware removes BootNext before it starts the entry (UEFI specification 2.10, 3.1.2), so whatever happens then, the
start after that is the old system's. The entry's file is the running kernel with its EFI stub, which loads the
initramfs beside it. No file of a boot loader is touched, and all of them (GRUB, systemd-boot, rEFInd, unified kernels)
are served alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from balena_migrate.bootloaders import BootAssets, ImageBoot
from balena_migrate.bootloaders.arguments import Arguments, choose_arguments
from balena_migrate.bootloaders.efi.checks import CODES, check_boot
from balena_migrate.bootloaders.efi.entry import entry_number, entry_option, entry_path, find_esp
from balena_migrate.core.changes import Action, ActionName, MakeDir, Produce, WriteVariable
from balena_migrate.core.efi_variables import dump_numbers, variable_path
from balena_migrate.core.paths import ESP_FOLDER, KERNEL_NAME
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB, MIB, in_mib
from balena_migrate.facts import DiskFacts, EfiFacts, Facts, kernel_path
from balena_migrate.findings import Finding
from balena_migrate.images.boot_file import BootFile
from balena_migrate.settings import Config

INITRAMFS_BYTES = 20 * MIB
"""What an initramfs of stage 2 may take, before it is known better: composed ones had 9 to 12 MiB, by an estimate of 14
or so."""
VARIABLES_BYTES = 4 * KIB
"""What our entry, BootNext and the new system's entry take, with a long command line."""


class Efi:
    """UEFI firmware and BootNext."""

    name = "UEFI firmware"
    programs = ()
    codes = CODES

    def files(self, disks: DiskFacts) -> tuple[str, ...]:
        return ()

    def named_files(self, disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]:
        return ()

    def recognise(self, facts: Facts) -> bool:
        return facts.boot.efi is not None and not self.passed_over(facts)

    def passed_over(self, facts: Facts) -> str:
        reason = why_not(facts.boot.efi, facts) if facts.boot.efi else ""
        return f"the firmware cannot start stage 2 by itself: {reason}" if reason else ""

    def one_shot(self, facts: Facts) -> bool:
        return True

    def reboot_argument(self, facts: Facts) -> str:
        return ""

    def if_not_loaded(self, facts: Facts) -> str:
        return "If the firmware cannot load the kernel or the initramfs of stage 2, it starts the old system by itself."

    def boot_folder(self, facts: Facts) -> str:
        esp = find_esp(facts)
        return f"{esp[0].mount_point if esp else '/boot/efi'}/{ESP_FOLDER}"

    def kernel_copy_bytes(self, facts: Facts) -> int:
        return facts.boot.kernel_bytes

    def arguments(self, facts: Facts) -> Arguments:
        return choose_arguments(facts.boot.kernel_command_line)

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        yield from check_boot(facts)

    def preparations(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        folder, kernel = self.boot_folder(facts), kernel_path(facts.boot.kernel_release)

        def copy(system: System, path: str) -> None:
            system.copy(kernel, path)

        title = "create the folder for what the firmware loads"
        return (
            MakeDir(name=ActionName.BOOT_FOLDER, title=title, path=folder),
            Produce(
                name=ActionName.BOOT_KERNEL, title=f"copy {kernel} there", path=f"{folder}/{KERNEL_NAME}", make=copy
            ),
        )

    def boot_actions(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        efi, esp = facts.boot.efi, find_esp(facts)
        assert efi is not None, "recognised without UEFI"
        assert esp is not None, "recognised without an EFI system partition"
        return (
            WriteVariable(
                name=ActionName.BOOT_ENTRY,
                title="add a boot entry for stage 2 to the firmware",
                path=entry_path(efi),
                value=entry_option(config, facts, esp[1]),
            ),
            WriteVariable(
                name=ActionName.BOOT_NEXT,
                title="select that entry for the next boot only",
                path=variable_path("BootNext"),
                value=dump_numbers((entry_number(efi),)),
            ),
        )

    def asset_files(self, image: ImageBoot) -> tuple[BootFile, ...]:
        return ()

    def assets(self, system: System, image: ImageBoot) -> BootAssets:
        return BootAssets()


def why_not(efi: EfiFacts, facts: Facts) -> str:
    """Why BootNext cannot be used on this device; "" where it can."""
    esp = find_esp(facts)
    if efi.unwritable:
        return efi.unwritable
    if esp is None:
        return "no EFI system partition is mounted"
    mount, device = esp
    if "ro" in mount.options:
        return f"{mount.mount_point} is mounted read-only"
    if not device.partuuid:
        return f"{device.path} has no PARTUUID by which the firmware finds it"
    if not efi.kernel_stub:
        return f"{kernel_path(facts.boot.kernel_release)} is not there, or no file that it starts (no EFI stub)"
    if efi.free_bytes is not None and efi.free_bytes < VARIABLES_BYTES:
        return f"its store of variables has {efi.free_bytes} bytes free, and {VARIABLES_BYTES} are needed"
    need = facts.boot.kernel_bytes + INITRAMFS_BYTES
    if mount.free_bytes < need:
        return f"{mount.mount_point} has {in_mib(mount.free_bytes)} free, and about {in_mib(need)} are needed"
    return ""


BOOT_LOADER = Efi()
