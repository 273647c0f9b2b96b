# SPDX-License-Identifier: Apache-2.0
"""GRUB 2 on a PC: a one-shot menu entry, and under BIOS boot code for images that have none.

The entry goes into custom.cfg, which Debian's and Ubuntu's grub.cfg reads at every start (41_custom), and is chosen
once by `next_entry` in grubenv, which grub.cfg clears before it boots (00_header). Both are plain file writes, so
nothing has to run to undo them. GRUB clears next_entry by writing the blocks of grubenv in place, which it
cannot do on LVM, RAID, btrfs and the like (GRUB manual, "Environment block"): such a device would boot stage 2 forever.

Under UEFI it is the second way, for devices that the firmware itself cannot start stage 2 on; all of this is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from balena_migrate.bootloaders import BootAssets, ImageBoot
from balena_migrate.bootloaders.arguments import Arguments, choose_arguments
from balena_migrate.bootloaders.grub.assets import asset_files, make_assets
from balena_migrate.bootloaders.grub.checks import CODES, check_boot
from balena_migrate.bootloaders.grub.entry import entry_text
from balena_migrate.bootloaders.grub.environment import armed, parse_environment
from balena_migrate.bootloaders.grub.files import (
    CUSTOM_CFG,
    GRUB2_CFG,
    GRUB_CFG,
    GRUB_CFG_SIGNATURE,
    GRUBENV,
    stub_patterns,
)
from balena_migrate.bootloaders.grub.stub import other_configurations
from balena_migrate.core.changes import Action, ActionName, WriteFile
from balena_migrate.core.system import System
from balena_migrate.facts import DiskFacts, Facts, Firmware
from balena_migrate.findings import Finding
from balena_migrate.images.boot_file import BootFile
from balena_migrate.settings import Config


class Grub:
    """GRUB 2, under BIOS and under UEFI."""

    name = "GRUB 2"
    programs = ("grub-mkimage",)
    codes = CODES

    def files(self, disks: DiskFacts) -> tuple[str, ...]:
        return (GRUB_CFG, GRUB_CFG_SIGNATURE, GRUBENV, CUSTOM_CFG, GRUB2_CFG, *stub_patterns(disks))

    def named_files(self, disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]:
        return ()

    def recognise(self, facts: Facts) -> bool:
        """Also where its configuration is not where Debian and Ubuntu have it, which is a finding."""
        on_pc = facts.boot.firmware in (Firmware.BIOS, Firmware.UEFI)
        return on_pc and (GRUB_CFG in facts.boot.files or bool(other_configurations(facts)))

    def passed_over(self, facts: Facts) -> None:
        return None

    def one_shot(self, facts: Facts) -> bool:
        return True

    def reboot_argument(self, facts: Facts) -> str:
        return ""

    def if_not_loaded(self, facts: Facts) -> str:
        return (
            "If GRUB cannot load the kernel or the initramfs of stage 2, it starts the old system by itself; if stage 2"
            " does not start from them, the device restarts, into the old system."
        )

    def boot_folder(self, facts: Facts) -> str:
        return "/boot"

    def kernel_copy_bytes(self, facts: Facts) -> int:
        return 0

    def arguments(self, facts: Facts) -> Arguments:
        return choose_arguments(facts.boot.kernel_command_line)

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        yield from check_boot(config, facts)

    def preparations(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        return ()

    def boot_actions(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        custom = facts.boot.files.get(CUSTOM_CFG, "")
        entry = (custom + "\n" if custom else "") + entry_text(config, facts)
        environment = parse_environment(facts.boot.files[GRUBENV])
        return (
            WriteFile(
                name=ActionName.BOOT_ENTRY,
                title="add a menu entry for stage 2 to GRUB",
                path=CUSTOM_CFG,
                content=entry.encode("utf-8", "surrogateescape"),
            ),
            WriteFile(
                name=ActionName.BOOT_NEXT,
                title="select that entry for the next boot only",
                path=GRUBENV,
                content=armed(environment),
            ),
        )

    def asset_files(self, image: ImageBoot) -> tuple[BootFile, ...]:
        return asset_files(image)

    def assets(self, system: System, image: ImageBoot) -> BootAssets:
        return make_assets(system, image)


BOOT_LOADER = Grub()
