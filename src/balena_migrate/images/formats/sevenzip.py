# SPDX-License-Identifier: Apache-2.0
"""7-zip archives; not supported. Source: 7zFormat.txt, signature header."""

from __future__ import annotations

from balena_migrate.images.formats import Format

FORMAT = Format(
    name="7-zip",
    what="a 7-zip archive",
    magics=(b"7z\xbc\xaf\x27\x1c",),
    unpack="7z x -so",
)
