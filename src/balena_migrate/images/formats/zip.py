# SPDX-License-Identifier: Apache-2.0
"""zip archives, whole and empty; not supported. Source: APPNOTE.TXT, 4.3.7 and 4.3.16."""

from __future__ import annotations

from balena_migrate.images.formats import Format

FORMAT = Format(
    name="zip",
    what="a zip archive",
    magics=(
        b"PK\x03\x04",
        b"PK\x05\x06",
    ),
    remedy="unpack it with unzip, and compress the image with gzip",
)
