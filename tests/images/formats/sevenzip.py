# SPDX-License-Identifier: Apache-2.0
"""7zFormat.txt: an archive that holds nothing, which is its 32-byte header alone."""

from __future__ import annotations

import zlib

from tests.images.formats import Sample

EMPTY = bytes(20)
"""Where the next header is, its size and its checksum: there is none."""

SAMPLE = Sample(pack=lambda image: b"7z\xbc\xaf\x27\x1c\x00\x04" + zlib.crc32(EMPTY).to_bytes(4, "little") + EMPTY)
