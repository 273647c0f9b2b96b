# SPDX-License-Identifier: Apache-2.0
"""The Raspberry Pi's own firmware: reads config.txt from a FAT partition at every start.

Lines at the end of config.txt make it load our initramfs with a command line of our own; see config_txt.py.
The old command line stays untouched, so config.txt is the only file of the old system that is replaced.

Firmware that supports tryboot gets those lines in tryboot.txt, which it reads once, and config.txt is not touched: a
power cut at any time boots the old system. Other firmware has no such memory: what boots stays changed until stage 2,
as its first act, restores config.txt; a power cut before that starts stage 2 once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from balena_migrate.bootloaders import BootAssets, ImageBoot
from balena_migrate.bootloaders.arguments import Arguments
from balena_migrate.bootloaders.raspberrypi.autoboot import AUTOBOOT
from balena_migrate.bootloaders.raspberrypi.boot_partition import (
    Place,
    boot_mount,
    config_files,
    fat_mounts,
    find_place,
    path_on,
)
from balena_migrate.bootloaders.raspberrypi.change import (
    OUR_CMDLINE,
    changed_files,
    chosen_arguments,
    if_not_loaded,
    why_no_try,
)
from balena_migrate.bootloaders.raspberrypi.checks import CODES, check_boot
from balena_migrate.bootloaders.raspberrypi.config_txt import CMDLINE, CONFIG, TRYBOOT, UnclearError, named_files
from balena_migrate.core.changes import Action, ActionName, WriteFile
from balena_migrate.core.errors import RefusedError
from balena_migrate.core.system import System
from balena_migrate.facts import DiskFacts, Facts, Firmware, Mount
from balena_migrate.findings import Finding
from balena_migrate.images.boot_file import BootFile
from balena_migrate.settings import Config

FILES = (CONFIG, CMDLINE, AUTOBOOT, TRYBOOT)
"""Read on every FAT file system, then the files they name. Not all text files: userconf.txt contains a password."""

TRYBOOT_ARGUMENT = "0 tryboot"
"""What `reboot` passes to the firmware: partition 0 is the default one."""


class RaspberryPi:
    """The firmware of every Raspberry Pi, from SD card, USB or NVMe."""

    name = "Raspberry Pi firmware"
    programs: tuple[str, ...] = ()
    codes = CODES

    def files(self, disks: DiskFacts) -> tuple[str, ...]:
        return tuple(path_on(mount, name) for mount in fat_mounts(disks) for name in FILES)

    def named_files(self, disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]:
        found = []
        for mount in fat_mounts(disks):
            inside = config_files(files, mount)
            names = named_files(inside) if CONFIG in inside else ()
            found += [path_on(mount, name) for name in sorted(names) if ".." not in PurePosixPath(name).parts]
        return tuple(found)

    def recognise(self, facts: Facts) -> bool:
        return facts.boot.firmware is Firmware.RASPBERRY_PI

    def passed_over(self, facts: Facts) -> None:
        return None

    def one_shot(self, facts: Facts) -> bool:
        place = find_place(facts)
        return isinstance(place, Place) and not why_no_try(facts, place)

    def reboot_argument(self, facts: Facts) -> str:
        return TRYBOOT_ARGUMENT if self.one_shot(facts) else ""

    def if_not_loaded(self, facts: Facts) -> str:
        place = find_place(facts)
        return if_not_loaded(facts, place) if isinstance(place, Place) else ""

    def boot_folder(self, facts: Facts) -> str:
        mount = boot_mount(facts)
        return mount.mount_point if mount else "/boot"

    def kernel_copy_bytes(self, facts: Facts) -> int:
        return 0

    def arguments(self, facts: Facts) -> Arguments | None:
        with contextlib.suppress(UnclearError):
            if isinstance(place := find_place(facts), Place):
                return chosen_arguments(facts, place)
        return None

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        yield from check_boot(facts)

    def preparations(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        return ()

    def boot_actions(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        place = find_place(facts)
        if isinstance(place, Finding):
            raise RefusedError(place.cause, hint=place.remedy)
        changed = changed_files(config, facts, place)
        if not why_no_try(facts, place):
            changed[TRYBOOT] = changed.pop(CONFIG)
        # config.txt comes last: until it is there, nothing has changed for the firmware.
        names = sorted(changed, key=lambda name: (name in (CONFIG, TRYBOOT), name))
        return tuple(_write(place.mount, name, changed[name]) for name in names)

    def asset_files(self, image: ImageBoot) -> tuple[BootFile, ...]:
        return ()

    def assets(self, system: System, image: ImageBoot) -> BootAssets:
        """Nothing: the image's own boot partition boots the board."""
        return BootAssets()


def _write(mount: Mount, name: str, text: str) -> WriteFile:
    """One file of the boot change. All but config.txt and tryboot.txt change nothing for the firmware by themselves."""
    included = (ActionName.BOOT_INCLUDED_FILE, "copy an included file without the old initramfs")
    action, title = _ACTIONS.get(name, included)
    content = text.encode("utf-8", "surrogateescape")
    return WriteFile(name=action, title=title, path=path_on(mount, name), content=content)


_ACTIONS = {
    OUR_CMDLINE: (ActionName.BOOT_ARGUMENTS, "write the kernel command line for stage 2"),
    CONFIG: (ActionName.BOOT_NEXT, "make the firmware load the stage 2 initramfs"),
    TRYBOOT: (ActionName.BOOT_NEXT, "make tryboot load the stage 2 initramfs"),
}
BOOT_LOADER = RaspberryPi()
