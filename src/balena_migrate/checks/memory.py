# SPDX-License-Identifier: Apache-2.0
"""Does all that stage 2 needs fit into memory, beside the initramfs itself."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.checks.storage import initramfs_estimate_bytes
from balena_migrate.checks.subject import Subject
from balena_migrate.findings import Finding, Severity

MIB = 1 << 20

UNPACKING = 4
"""An initramfs is unpacked to at most four times its size (measured with zstd and gzip: 2.4 to 3.3)."""
RESERVE_BYTES = 96 * MIB
"""What stage 2 works with: Python, the flash engine's buffers and the page cache of what is on its way to the disk."""
PATCHES_BYTES = 4 * MIB


def check(subject: Subject) -> Iterator[Finding]:
    """One finding, with the arithmetic: total - initramfs - image - backup - boot partition's blocks - reserve >= 0."""
    if subject.image is None:
        return
    parts = (
        ("unpacked initramfs", UNPACKING * initramfs_estimate_bytes(subject)),
        ("image", subject.image.file_bytes),
        ("backup", subject.backup_bytes),
        ("boot partition's changes", PATCHES_BYTES),
        ("to work with", RESERVE_BYTES),
    )
    need, total = sum(size for _, size in parts), subject.facts.memory.total_bytes
    sums = " + ".join(f"{round(size / MIB)} ({name})" for name, size in parts)
    text = f"stage 2 needs {sums} = {round(need / MIB)} MiB of memory, this device has {total // MIB} MiB"
    if need > total:
        remedy = "make the backup smaller, or use an image that is packed better"
        yield Finding(code="memory-too-small", severity=Severity.BLOCKER, cause=text, remedy=remedy)
    else:
        yield Finding(code="memory", severity=Severity.OK, cause=text)
