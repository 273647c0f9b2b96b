# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip

from tests.images.formats import Sample, flip

IN_THE_DATA = 40
"""Behind the first member's header of 10 bytes; a header has bytes that mean nothing, such as its time."""

SAMPLE = Sample(
    pack=lambda image: gzip.compress(image[:7_000_000], 1) + gzip.compress(image[7_000_000:], 1),
    damage=lambda packed: flip(packed, IN_THE_DATA),
    commands=("gzip -c image", "gzip -9 -n -c image", "gzip -1 -c <image; gzip -c /dev/null; head -c 5000 /dev/zero"),
)
