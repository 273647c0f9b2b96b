# SPDX-License-Identifier: Apache-2.0
"""Does everything that stage 2 needs fit into memory, next to the initramfs itself?"""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.checks.storage import initramfs_estimate_bytes
from balena_migrate.findings import BLOCKS, PASSES, Code, Finding, blocker, passed
from balena_migrate.survey import Survey

MIB = 1 << 20

UNPACKING = 4
"""An initramfs unpacks to at most four times its size (measured with zstd and gzip: 2.4 to 3.3)."""
RESERVE_BYTES = 96 * MIB
"""What stage 2 works with: Python, the flash engine's buffers and the page cache of what is on its way to the disk."""
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


def check(survey: Survey) -> Iterator[Finding]:
    yield from check_memory(survey, survey.backup_bytes)


def check_memory(survey: Survey, backup_bytes: int) -> Iterator[Finding]:
    """One finding, with the arithmetic: total - initramfs - image - backup - boot partition's blocks - reserve >= 0."""
    if survey.image is None:
        return
    parts = (
        ("unpacked initramfs", UNPACKING * initramfs_estimate_bytes(survey)),
        ("image", survey.image.file_bytes),
        ("backup", backup_bytes),
        ("boot partition's changes", PATCHES_BYTES),
        ("working memory", RESERVE_BYTES),
    )
    need, total = sum(size for _, size in parts), survey.facts.memory.total_bytes
    sums = " + ".join(f"{round(size / MIB)} ({name})" for name, size in parts)
    text = f"stage 2 needs {sums} = {round(need / MIB)} MiB of memory; this device has {total // MIB} MiB"
    if need > total:
        yield blocker("memory-too-small", text, "make the backup smaller, or use an image that is compressed better")
    else:
        yield passed("memory", text)
