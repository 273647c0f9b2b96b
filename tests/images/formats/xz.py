# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import lzma

from tests.images.formats import Sample

SAMPLE = Sample(
    pack=lambda image: lzma.compress(image, preset=0),
    commands=(
        "xz -0 -c image",
        "xz -9 -c image",
        "xz -1 -T2 --block-size=1MiB -c image",
        "xz -0 --check=crc32 -c image; head -c 4096 /dev/zero; xz -c /dev/null; head -c 8 /dev/zero",
        "xz -0 --check=none --x86 --lzma2=preset=1 -c image",
    ),
)
