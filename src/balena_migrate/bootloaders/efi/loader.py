# SPDX-License-Identifier: Apache-2.0
"""UEFI firmware starts stage 2: by a boot entry of our own, which is not in its order, and BootNext, which names it.

The firmware removes BootNext before it starts the entry (UEFI specification 2.10, 3.1.2), so whatever happens then, the
start after that is the old system's. The entry's file is the running kernel with its EFI stub, which loads the
initramfs beside it. No file of a boot loader is touched, and all of them (GRUB, systemd-boot, rEFInd, unified kernels)
are served alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from balena_migrate.bootloaders import BootAssets, ImageBoot, PassedOver
from balena_migrate.bootloaders.arguments import Arguments, choose_arguments
from balena_migrate.bootloaders.efi.checks import CODES, check_boot
from balena_migrate.bootloaders.efi.entry import entry_number, entry_option, entry_path, find_esp
from balena_migrate.core.changes import Action, ActionName, Produce, WriteVariable
from balena_migrate.core.efi_variables import EFIVARS, FULL_HINT, dump_numbers, variable_path
from balena_migrate.core.paths import EFI_KERNEL_NAME
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB, MIB, in_mib
from balena_migrate.facts import BlockDevice, DiskFacts, EfiFacts, Facts, Mount, kernel_path
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

    def passed_over(self, facts: Facts) -> PassedOver | None:
        return find_obstacle(facts.boot.efi, facts) if facts.boot.efi else None

    def one_shot(self, facts: Facts) -> bool:
        return True

    def reboot_argument(self, facts: Facts) -> str:
        return ""

    def if_not_loaded(self, facts: Facts) -> str:
        """As rehearsals with OVMF have shown it; but that the start after a hang is the old system's follows from
        BootNext alone."""
        return (
            "If the firmware cannot load the kernel or the initramfs of stage 2, it starts the old system by itself; if"
            " stage 2 does not start from them, the device restarts, into the old system. Only where the copy of the"
            " kernel is damaged may it hang until the power is cut; the start after that is the old system's."
        )

    def boot_folder(self, facts: Facts) -> str:
        esp = find_esp(facts)
        return esp[0].mount_point if esp else "/boot/efi"

    def kernel_copy_bytes(self, facts: Facts) -> int:
        return facts.boot.kernel_bytes

    def arguments(self, facts: Facts) -> Arguments:
        return choose_arguments(facts.boot.kernel_command_line)

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        yield from check_boot(facts)

    def preparations(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        kernel, copied = kernel_path(facts.boot.kernel_release), f"{self.boot_folder(facts)}/{EFI_KERNEL_NAME}"

        def copy(system: System, path: str) -> None:
            system.copy(kernel, path)

        title = f"copy {kernel} to where the firmware loads it from"
        return (Produce(name=ActionName.BOOT_KERNEL, title=title, path=copied, make=copy),)

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


def find_obstacle(efi: EfiFacts, facts: Facts) -> PassedOver | None:
    """Why BootNext cannot be used on this device; None where it can."""
    esp = find_esp(facts)
    if efi.unwritable:
        return _passed(efi.unwritable, f"mount it for writing (mount -o remount,rw {EFIVARS})")
    if efi.free_bytes is not None and efi.free_bytes < VARIABLES_BYTES:
        return _passed(
            f"its store of variables has {efi.free_bytes} bytes free, {VARIABLES_BYTES} are needed", FULL_HINT
        )
    if not efi.kernel_stub:
        kernel = kernel_path(facts.boot.kernel_release)
        reason = f"{kernel} is not there, or no file that it can start (a kernel with an EFI stub)"
        return _passed(reason, "start a kernel of the distribution, and try again")
    if esp is None:
        return _passed("no EFI system partition is mounted", "mount it (mount /boot/efi)")
    return _find_esp_obstacle(facts, *esp)


def _find_esp_obstacle(facts: Facts, mount: Mount, device: BlockDevice) -> PassedOver | None:
    point, need = mount.mount_point, facts.boot.kernel_bytes + INITRAMFS_BYTES
    if "ro" in mount.options:
        return _passed(f"{point} is mounted read-only", f"mount -o remount,rw {point}")
    if not device.partuuid:
        return _passed(f"{device.path} has no PARTUUID by which it is found", "give its disk another partition table")
    if mount.free_bytes < need:
        reason = f"{point} has {in_mib(mount.free_bytes)} free, and about {in_mib(need)} are needed"
        return _passed(reason, f"remove files there that nothing starts from (du -a {point})")
    return None


def _passed(reason: str, remedy: str) -> PassedOver:
    return PassedOver(reason=f"the firmware cannot start it: {reason}", remedy=remedy)


BOOT_LOADER = Efi()
