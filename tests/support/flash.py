# SPDX-License-Identifier: Apache-2.0
"""The flash engine as stage 2 calls it, in one call."""

from __future__ import annotations

from balena_migrate.core.block_map import BlockMap
from balena_migrate.images.formats import format_named
from balena_migrate.images.patched_image import PatchedImage, RewindableSource
from balena_migrate.images.patches import Patches
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import FlashReport, FlashResult, write_image
from balena_migrate.stage2.target import Disk


def flash_image(
    source: RewindableSource,
    packed: str,
    size_bytes: int,
    disk: Disk,
    patches: Patches,
    report: FlashReport = lambda step, done, total: None,
) -> FlashResult:
    """The image of this format is on the disk, with its patches, the first MiB last."""
    return write_image(
        PatchedImage(source, format_named(packed), size_bytes, patches, BlockMap()), disk, FirstMibLast(), report
    )
