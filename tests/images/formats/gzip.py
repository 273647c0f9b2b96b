# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip

from tests.images.formats import Sample

SAMPLE = Sample(pack=lambda image: gzip.compress(image[:7_000_000], 1) + gzip.compress(image[7_000_000:], 1))
