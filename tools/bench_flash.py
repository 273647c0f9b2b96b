# SPDX-License-Identifier: Apache-2.0
"""Write an image once with the flash engine, in a process of its own whose time and memory tools/bench.py measures.

Arguments: the image compressed by gzip, the disk, the uncompressed size in bytes. Prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from balena_migrate.core.block_map import BlockMap
from balena_migrate.images.formats import format_named
from balena_migrate.images.patched_image import PatchedImage
from balena_migrate.images.patches import Patches
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import write_image
from balena_migrate.stage2.target import open_disk


def main() -> None:
    packed, disk_path, size_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with packed.open("rb") as source, open_disk(disk_path) as disk:
        goal = PatchedImage(
            source, format_named("gzip"), size_bytes, Patches(size_bytes=size_bytes, blocks=()), BlockMap()
        )
        result = write_image(goal, disk, FirstMibLast(), lambda progress: None, print)
    print(json.dumps({"write_s": result.write_s, "reads_directly": result.reads_directly}))


if __name__ == "__main__":
    main()
