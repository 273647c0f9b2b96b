# SPDX-License-Identifier: Apache-2.0
"""RFC 8878: a frame of raw and run-length blocks, which needs no compressor."""

from __future__ import annotations

from tests.images.formats import Sample

MAGIC = b"\x28\xb5\x2f\xfd"
DESCRIPTOR = b"\xe0"
"""A single segment with a content size of 8 bytes, without checksum or dictionary."""
BLOCK_BYTES = 128 << 10
RAW, REPEATED = 0, 1


def pack(image: bytes) -> bytes:
    blocks = [image[start : start + BLOCK_BYTES] for start in range(0, len(image), BLOCK_BYTES)]
    parts = [block(content, last=index == len(blocks) - 1) for index, content in enumerate(blocks)]
    return MAGIC + DESCRIPTOR + len(image).to_bytes(8, "little") + b"".join(parts)


def block(content: bytes, *, last: bool) -> bytes:
    kind = REPEATED if content == content[:1] * len(content) else RAW
    header = (last | kind << 1 | len(content) << 3).to_bytes(3, "little")
    return header + (content[:1] if kind == REPEATED else content)


SAMPLE = Sample(pack=pack)
