# SPDX-License-Identifier: Apache-2.0
"""What a flasher image has around the system image: its partitions, and the files that travel beside it.

Its own system is left out: nothing starts it. Source: meta-balena, balena-image-flasher.bb.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disklayout import Table
from balena_migrate.workstation.lab.lookalike.bootpart import MARKER
from balena_migrate.workstation.lab.lookalike.layout import (
    ALIGNMENT_BYTES,
    TYPE_EXTENDED,
    TYPE_FAT16,
    TYPE_LINUX,
    Layout,
    Partition,
)
from balena_migrate.workstation.lab.lookalike.specs import ImageSpec

GRUB_CONFIGS = ("grub/grub.cfg", "EFI/BOOT/grub.cfg")
"""In resin-boot; all of them are the same file."""
BOOT_BYTES = 40 * MIB
ROOT_MORE_BYTES = 64 * MIB
"""What flash-rootA has besides the system image."""


def uses_balena_names(spec: ImageSpec) -> bool:
    """Whether the flasher's files are named after balena, and no longer after resin (meta-balena, e2f9e63eb)."""
    return spec.version >= (2, 72)


def inner_path(spec: ImageSpec) -> str:
    """Where the system image is in flash-rootA."""
    if uses_balena_names(spec):
        return f"opt/balena-image-{spec.machine}.balenaos-img"
    return f"opt/resin-image-{spec.machine}.resinos-img"


def files_inside(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What the system image's boot partition has until the flasher adds the rest."""
    return {path: content for path, content in files.items() if path not in GRUB_CONFIGS}


def flash_boot_files(spec: ImageSpec, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of flash-boot, for a system image whose boot partition shall have `files` in the end."""
    marker = "balena-image-flasher" if uses_balena_names(spec) else "resin-image-flasher"
    copied = {path: files[path] for path in files if path.startswith(("splash/", "system-"))}
    config = {**json.loads(files["config.json"]), "installer": {"target_devices": "sda"}}
    return copied | {
        marker: MARKER,
        "EFI/BOOT/grub.cfg": b"# This starts the flasher.\n",
        "config.json": (json.dumps(config) + "\n").encode(),
        "device-type.json": files["device-type.json"],
        "grub.cfg_internal": files[GRUB_CONFIGS[0]],
    }


def plan_flasher(image_bytes: int) -> Layout:
    """The partitions of a flasher image with an MBR, around a system image of that size."""
    root = -(-(image_bytes + ROOT_MORE_BYTES) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    boot_end = ALIGNMENT_BYTES + BOOT_BYTES
    extended = boot_end + root + ALIGNMENT_BYTES
    places = (
        ("flash-boot", ALIGNMENT_BYTES, BOOT_BYTES, TYPE_FAT16),
        ("flash-rootA", boot_end, root, TYPE_LINUX),
        ("flash-rootB", boot_end + root, ALIGNMENT_BYTES, TYPE_LINUX),
        ("", extended, 4 * ALIGNMENT_BYTES, TYPE_EXTENDED),
        ("flash-state", extended + ALIGNMENT_BYTES, ALIGNMENT_BYTES, TYPE_LINUX),
        ("flash-data", extended + 3 * ALIGNMENT_BYTES, ALIGNMENT_BYTES, TYPE_LINUX),
    )
    parts = (
        Partition(number=number, label=label, start_bytes=start, size_bytes=size, type_code=kind)
        for number, (label, start, size, kind) in enumerate(places, start=1)
    )
    return Layout(partitions=tuple(parts), size_bytes=extended + 4 * ALIGNMENT_BYTES, table=Table.DOS)
