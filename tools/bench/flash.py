# SPDX-License-Identifier: Apache-2.0
"""Writes an image once with the flash engine, in a process of its own, whose time and memory are measured from outside.

Arguments: the image, the disk, a file with the image's size and block map as stage 1 hands them over. Prints JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.values import from_json
from balena_migrate.images.formats import magic_bytes, sniff_format
from balena_migrate.images.patched_image import PatchedImage
from balena_migrate.images.patches import Patches
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import write_image
from balena_migrate.stage2.target import open_disk


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What stage 2 knows of the image beforehand."""

    size_bytes: int
    block_map: BlockMap


def complain(text: str) -> None:
    """What goes wrong meanwhile is no part of the result."""
    print(text, file=sys.stderr)


def main() -> None:
    path, disk_path, handed_path = (Path(argument) for argument in sys.argv[1:])
    handed = from_json(Handed, json.loads(handed_path.read_text()))
    with path.open("rb") as source, open_disk(disk_path) as disk:
        packed = sniff_format(source.read(magic_bytes()))
        patches = Patches(size_bytes=handed.size_bytes, blocks=())
        goal = PatchedImage(source, packed, handed.size_bytes, patches, handed.block_map)
        result = write_image(goal, disk, FirstMibLast(), lambda progress: None, complain)
    print(json.dumps({"write_s": result.write_s, "reads_directly": result.reads_directly}))


if __name__ == "__main__":
    main()
