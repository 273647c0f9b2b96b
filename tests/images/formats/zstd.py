# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from zstandard import ZstdCompressor

from tests.images.formats import Sample

SAMPLE = Sample(
    pack=lambda image: ZstdCompressor(level=1, write_checksum=True).compress(image),
    commands=(
        "zstd -q -c image",
        "zstd -q -19 --long=27 -c <image",
        "zstd -q -1 --no-check -c image; zstd -q -c </dev/null",
        r"printf 'P*M\030\005\0\0\0hello'; zstd -q -T2 --fast=3 -c image; printf '_*M\030\0\0\0\0'",
    ),
)
