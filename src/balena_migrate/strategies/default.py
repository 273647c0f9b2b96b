# SPDX-License-Identifier: Apache-2.0
"""DEFAULT: stage 2 takes everything into memory, then flashes the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from balena_migrate.bootloaders.arguments import split_command_line
from balena_migrate.core.units import MIB, in_mib
from balena_migrate.findings import BLOCKS, PASSES, Code, Finding, blocker, passed
from balena_migrate.images import Image
from balena_migrate.images.room import grown_size_bytes
from balena_migrate.settings import StrategyName
from balena_migrate.strategies import EXPECTED_PATCHES_BYTES, MemoryNeed, Stage1Strategy, Stage2Sizes
from balena_migrate.survey import Accepted, Survey

PATCHES_COPIES = 2
"""The file, and what is read of it."""
RESERVE_BYTES = 48 * MIB
"""What stage 2 works with besides its files and what it has at its start. In virtual PCs of 331 and 457 MiB that was
25 and 35 MiB at most: the flash's windows (24), and the decoder with its output. The log may grow to 3."""
KERNEL_BYTES = 48 * MIB
KERNEL_SHARE = 32
"""What is not in MemAvailable when stage 2 begins, besides the unpacked initramfs: the kernel's own, with its modules
and the reserve that it keeps free, and Python. In virtual PCs with 206, 331 and 457 MiB of MemTotal (Debian 12, one
processor) that is 43, 45 and 48 MiB: 34 and a 32nd. A real PC has more processors and devices."""

CODES = (
    Code("memory", PASSES, "This device has enough memory for stage 2."),
    Code(
        "memory-too-small",
        BLOCKS,
        "Stage 2 keeps the image and the backup in memory, and together they do not fit; or the kernel cannot unpack"
        " the initramfs.",
        "Make the backup smaller, or use an image that is compressed better.",
    ),
)


def memory_need(image: Image, device_bytes: int, sizes: Stage2Sizes) -> MemoryNeed:
    """What is needed when the files are in memory or, where that is more, while the kernel unpacks the initramfs."""
    first, last = ("unpacked initramfs", sizes.initramfs.unpacked_bytes), ("kernel", kernel_bytes(device_bytes))
    files = (
        *([("backup", sizes.backup_bytes)] if sizes.backup_bytes else []),
        *image_parts(replace(image, file_bytes=sizes.image_bytes), sizes.patches_bytes),
    )
    packed = (("initramfs as it is packed", sizes.initramfs.packed_bytes),)
    needs = (MemoryNeed(parts=(first, *parts, last), device_bytes=device_bytes) for parts in (files, packed))
    return max(needs, key=lambda need: need.mib)


def image_parts(image: Image, patches_bytes: int = EXPECTED_PATCHES_BYTES) -> tuple[tuple[str, int], ...]:
    """What an image takes on every device, each part with its name and its bytes."""
    return (
        ("image", image.file_bytes),
        *([("unpacking it", image.unpacking_bytes)] if image.unpacking_bytes >= MIB else []),
        ("boot partition's changes", PATCHES_COPIES * patches_bytes),
        ("working memory", RESERVE_BYTES),
    )


def kernel_bytes(device_bytes: int) -> int:
    """What of MemTotal is not available to stage 2 from the start."""
    return KERNEL_BYTES + device_bytes // KERNEL_SHARE


def check(survey: Survey, sizes: Stage2Sizes) -> Iterator[Finding]:
    """Whether MemTotal is as much as stage 2 needs, and the kernel has a place for the unpacked initramfs."""
    if survey.image is None:
        return
    need = memory_need(survey.image, survey.facts.memory.total_bytes, sizes)
    if not need.is_met:
        remedy = "make the backup smaller, or use an image that is compressed better"
        yield blocker("memory-too-small", need.text, remedy)
    elif cause := _limited(survey, sizes):
        yield blocker("memory-too-small", cause, "set INITRAMFS to composed, or add root= to the kernel's arguments")
    else:
        yield passed("memory", need.text)


def _limited(survey: Survey, sizes: Stage2Sizes) -> str:
    """Why the kernel has no place for the unpacked initramfs; "" where it has.

    With root= and without rootfstype=tmpfs that is a ramfs, which has no limit; else a tmpfs, which takes half of the
    memory (the kernel's init/do_mounts.c: init_rootfs; Documentation/filesystems/tmpfs.rst: size).
    """
    words = split_command_line(survey.facts.boot.kernel_command_line)
    limit, unpacked = survey.facts.memory.total_bytes // 2, sizes.initramfs.unpacked_bytes
    if unpacked <= limit or (any(word.startswith("root=") for word in words) and "rootfstype=tmpfs" not in words):
        return ""
    return (
        f"the initramfs takes {in_mib(unpacked)} unpacked, and as the kernel's arguments have no root=, the kernel puts"
        f" it into a tmpfs of half the memory: {in_mib(limit)}"
    )


def after_the_line(accepted: Accepted) -> tuple[str, ...]:
    """Flash, the firmware's boot entry, grow resin-data if need be, transfer, reboot."""
    efi = accepted.facts.boot.efi
    return (
        f"write {_written(accepted.image)} to {accepted.target.path}, the first MiB last, and read it back",
        *(["put the new system first among the firmware's boot entries"] if efi and not efi.unwritable else []),
        *_growth(accepted),
        "copy the backup and the log to resin-data",
        "reboot into balenaOS",
    )


def _written(image: Image) -> str:
    """What is written of an image."""
    if image.write_bytes == image.size_bytes:
        return in_mib(image.size_bytes)
    return f"{image.write_bytes // MIB} of {in_mib(image.size_bytes)}, as the rest is free in its file systems,"


def _growth(accepted: Accepted) -> tuple[str, ...]:
    """What stage 2 does if the backup, at its expected size, does not fit on resin-data as the image brings it."""
    size_bytes = grown_size_bytes(accepted.image, accepted.survey.backup_bytes, accepted.target.size_bytes)
    if size_bytes is None:
        return ()
    old = accepted.image.data.size_bytes
    text = f"grow resin-data's file system from {old // MIB} to about {in_mib(size_bytes)}, so that the backup fits"
    return (f"{text}; the partition table that is written already has it that large",)


STRATEGY = Stage1Strategy(
    name=StrategyName.DEFAULT,
    check=check,
    codes=CODES,
    memory_need=memory_need,
    memory_reserve_bytes=RESERVE_BYTES,
    before_the_line="restore the boot configuration, copy all files into memory, verify them, find the disk",
    after_the_line=after_the_line,
    power_cut="If the power fails in it before the first MiB is written, at the end of the flash, nothing boots",
)
