# SPDX-License-Identifier: Apache-2.0
"""Zstandard; not supported. Source: RFC 8878, 3.1.1."""

from __future__ import annotations

from balena_migrate.images.formats import Format

FORMAT = Format(
    name="zstd",
    what="a zstd file",
    magics=(b"\x28\xb5\x2f\xfd",),
    remedy="unpack it with zstd -d, and compress the image with gzip",
)
