# SPDX-License-Identifier: Apache-2.0
"""How UEFI firmware starts the new system, whatever starts stage 2: the boot entry that balena's own flasher writes."""

from __future__ import annotations

from balena_migrate.core.balena import EFI_LOADER
from balena_migrate.core.handover import NewBootEntry
from balena_migrate.core.load_option import HardDrive, LoadOption, dump_option
from balena_migrate.facts import BlockDevice, BootFacts, Facts
from balena_migrate.images import Image
from balena_migrate.images.partitions import TableKind
from balena_migrate.images.patches import Block

LOADER = "\\" + EFI_LOADER.replace("/", "\\")
"""As firmware writes a path."""
BOOT_CODE_BYTES = 446
NO_TABLE_ID = "00000000"
"""An MBR's id once that is zeros."""


def efi_blocks(boot: BootFacts, image: Image) -> tuple[Block, ...]:
    """Zeros in place of an MBR's boot code and id.

    balenaOS writes them by itself when it finds that UEFI started it (balena-intel, resin-init-board), as its flasher
    does. The boot entry names the MBR's id, so it gets its final value before anything starts by it.
    """
    if boot.efi is None or image.table.kind is not TableKind.DOS:
        return ()
    return (Block(offset_bytes=0, content=bytes(BOOT_CODE_BYTES)),)


def new_boot_entry(facts: Facts, image: Image, target: BlockDevice, label: str) -> NewBootEntry | None:
    """The new system's boot entry, as its flasher would write it; None where the firmware takes none."""
    if facts.boot.efi is None or facts.boot.efi.unwritable:
        return None
    option = LoadOption(label=label, hard_drive=_partition(image), file=LOADER)
    parts = [device for device in facts.disks.devices if target in facts.disks.chain(device)]
    return NewBootEntry(
        option=dump_option(option),
        old_partuuids=tuple(device.partuuid.lower() for device in parts if device.partuuid),
    )


def _partition(image: Image) -> HardDrive:
    boot, size = image.boot, image.table.sector_bytes
    return HardDrive(
        number=boot.number,
        start_lba=boot.start_bytes // size,
        sectors=boot.size_bytes // size,
        partuuid=boot.id or f"{NO_TABLE_ID}-{boot.number:02x}",
    )
