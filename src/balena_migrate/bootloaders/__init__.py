# SPDX-License-Identifier: Apache-2.0
"""Boot loaders: one file each, with a `BOOT_LOADER`. The folder is the registry.

A boot loader knows its configuration files, whether it starts this device, and which smallest change makes it start
the migration initramfs once. Everything but reading the files is a pure function of facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from balena_migrate.bootloaders.arguments import Arguments
from balena_migrate.core.changes import Action
from balena_migrate.core.plugins import load_all
from balena_migrate.core.system import System
from balena_migrate.facts import DiskFacts, Facts, Firmware
from balena_migrate.findings import Code, Finding
from balena_migrate.images import Image
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.patches import Block
from balena_migrate.settings import Config


@dataclass(frozen=True, kw_only=True)
class BootAssets:
    """What the new system needs to boot and its image does not contain."""

    files: tuple[BootFile, ...] = ()
    blocks: tuple[Block, ...] = ()
    """Boot code, say; in place of what the image has there."""


@dataclass(frozen=True, kw_only=True)
class ImageBoot:
    """What a boot loader has to know about the image: where resin-boot is, its files, and LBA 0."""

    firmware: Firmware
    """What will start it."""
    boot_start_bytes: int
    boot_files: tuple[str, ...]
    has_boot_code: bool


def boot_of(image: Image, firmware: Firmware) -> ImageBoot:
    """What a boot loader has to know about this image, which this firmware will start."""
    return ImageBoot(
        firmware=firmware,
        boot_start_bytes=image.boot.start_bytes,
        boot_files=image.identity.files,
        has_boot_code=image.identity.has_bios_boot_code,
    )


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """Why a boot loader cannot start stage 2 on a device of its kind."""

    reason: str
    remedy: str


class BootLoader(Protocol):
    """What the file of a boot loader has to provide."""

    @property
    def name(self) -> str: ...

    @property
    def programs(self) -> tuple[str, ...]:
        """The device's own programs that `assets` starts, where an image needs any."""

    @property
    def codes(self) -> tuple[Code, ...]:
        """The codes of the findings that its checks make."""

    def files(self, disks: DiskFacts) -> tuple[str, ...]:
        """Path patterns of the configuration files whose text goes into facts.boot.files."""

    def named_files(self, disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]:
        """Paths of further such files, which the files read so far name; they need not exist."""

    def recognise(self, facts: Facts) -> bool:
        """Whether it is the one to start stage 2 on this device, if none before it is."""

    def passed_over(self, facts: Facts) -> PassedOver | None:
        """Why it cannot start stage 2 on this device, whose kind it starts; None where it can, or never does."""

    def one_shot(self, facts: Facts) -> bool:
        """Whether a power cut after the boot change leads back to the old system without stage 2's help."""

    def reboot_argument(self, facts: Facts) -> str:
        """The argument of `reboot` that starts stage 2; "" if any reboot does."""

    def if_not_loaded(self, facts: Facts) -> str:
        """What happens where it cannot load our initramfs, as a sentence for the plan."""

    def boot_folder(self, facts: Facts) -> str:
        """The folder that it loads kernel and initramfs from; the initramfs is put there."""

    def kernel_copy_bytes(self, facts: Facts) -> int:
        """What a copy of the kernel takes there; 0 where the old system's own file is loaded."""

    def arguments(self, facts: Facts) -> Arguments | None:
        """Which of the old system's arguments stage 2's kernel gets; None where they are not certain."""

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        """Whether it can start stage 2 and, afterwards, the old system."""

    def preparations(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        """What the boot folder needs before the initramfs; nothing that changes the next boot."""

    def boot_actions(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        """The change that starts stage 2 at the next boot: small writes, the deciding one last."""

    def asset_files(self, image: ImageBoot) -> tuple[BootFile, ...]:
        """The files among the assets: known without starting a program. Raises ImageError if it cannot be booted."""

    def assets(self, system: System, image: ImageBoot) -> BootAssets:
        """What the new system needs from this boot loader; nothing where the image brings its own."""


@cache
def boot_loaders() -> tuple[BootLoader, ...]:
    """All boot loaders, by file name."""
    return load_all(__name__, __path__, "BOOT_LOADER")


def find_boot_loader(facts: Facts) -> BootLoader | None:
    """What starts stage 2 on this device: the firmware before a boot loader."""
    return next((loader for loader in boot_loaders() if loader.recognise(facts)), None)


def passed_over(facts: Facts) -> tuple[PassedOver, ...]:
    """Why others, which would start stage 2 on a device of this kind, are not used."""
    return tuple(filter(None, (loader.passed_over(facts) for loader in boot_loaders())))
