# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import bz2

from tests.images.formats import Sample

SAMPLE = Sample(
    pack=lambda image: bz2.compress(image, 1),
    commands=("bzip2 -c image", "bzip2 -1 -c image; bzip2 -9 -c /dev/null", "bzip2 -5 -c image; head -c 700 /dev/zero"),
)
