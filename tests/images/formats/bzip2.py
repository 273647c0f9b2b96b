# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import bz2

from tests.images.formats import Sample

SAMPLE = Sample(pack=lambda image: bz2.compress(image, 1))
