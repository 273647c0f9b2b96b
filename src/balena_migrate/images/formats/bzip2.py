# SPDX-License-Identifier: Apache-2.0
"""bzip2; not supported."""

from __future__ import annotations

from balena_migrate.images.formats import Format

FORMAT = Format(
    name="bzip2",
    what="a bzip2 file",
    magics=(b"BZh",),
    remedy="unpack it with bzip2 -d, and compress the image with gzip",
)
