# SPDX-License-Identifier: Apache-2.0
"""A raw image has no checksum: what is cut off or damaged, only its partition table tells."""

from __future__ import annotations

from tests.images.formats import Sample, flip

SAMPLE = Sample(pack=lambda image: image, damage=lambda packed: flip(packed, 510), has_checksum=False)
