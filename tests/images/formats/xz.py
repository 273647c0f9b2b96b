# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import lzma

from tests.images.formats import Sample

SAMPLE = Sample(pack=lambda image: lzma.compress(image, preset=0))
