# SPDX-License-Identifier: Apache-2.0
"""xz; not supported. Source: The .xz File Format, 2.1.1.1."""

from __future__ import annotations

from balena_migrate.images.formats import Format

FORMAT = Format(
    name="xz",
    what="an xz file",
    magics=(b"\xfd7zXZ\x00",),
    remedy="unpack it with xz -d, and compress the image with gzip",
)
