# SPDX-License-Identifier: Apache-2.0
"""DEFAULT: stage 2 takes everything into memory, then flashes the disk."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.core.units import MIB, in_mib
from balena_migrate.findings import BLOCKS, PASSES, Code, Finding, blocker, passed
from balena_migrate.images import Image
from balena_migrate.images.room import grown_size_bytes
from balena_migrate.settings import StrategyName
from balena_migrate.strategies import Stage1Strategy
from balena_migrate.survey import Accepted, Survey

UNPACKING = 4
"""An initramfs unpacks to at most four times its size (measured with zstd and gzip: 2.4 to 3.3)."""
RESERVE_BYTES = 96 * MIB
"""What stage 2 works with: Python (20 MiB), the flash engine's windows (32), and the decoder with its output (12)."""
PATCHES_BYTES = 4 * MIB

CODES = (
    Code("memory", PASSES, "This device has enough memory for stage 2."),
    Code(
        "memory-too-small",
        BLOCKS,
        "Stage 2 keeps the image and the backup in memory, and together they do not fit.",
        "Make the backup smaller, or use an image that is compressed better.",
    ),
)


def memory_parts(image: Image) -> tuple[tuple[str, int], ...]:
    """What stage 2 needs memory for on every device, each part with its name and its bytes."""
    return (
        ("image", image.file_bytes),
        *([("unpacking it", image.unpacking_bytes)] if image.unpacking_bytes >= MIB else []),
        ("boot partition's changes", PATCHES_BYTES),
        ("working memory", RESERVE_BYTES),
    )


def check(survey: Survey, initramfs_bytes: int, backup_bytes: int) -> Iterator[Finding]:
    """One finding, with the arithmetic: total - initramfs - backup - image - boot partition's blocks - reserve >= 0."""
    if survey.image is None:
        return
    parts = (
        ("unpacked initramfs", UNPACKING * initramfs_bytes),
        ("backup", backup_bytes),
        *memory_parts(survey.image),
    )
    need, total = sum(size for _, size in parts), survey.facts.memory.total_bytes
    sums = " + ".join(f"{round(size / MIB)} ({name})" for name, size in parts)
    text = f"stage 2 needs {sums} = {round(need / MIB)} MiB of memory; this device has {in_mib(total)}"
    if need > total:
        yield blocker("memory-too-small", text, "make the backup smaller, or use an image that is compressed better")
    else:
        yield passed("memory", text)


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
    memory_reserve_bytes=RESERVE_BYTES,
    before_the_line="restore the boot configuration, copy all files into memory, verify them, find the disk",
    after_the_line=after_the_line,
    power_cut="If the power fails in it before the first MiB is written, at the end of the flash, nothing boots",
)
