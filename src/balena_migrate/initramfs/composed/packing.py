# SPDX-License-Identifier: Apache-2.0
"""Compress an initramfs with what the kernel can unpack, as small as it gets in bounded time."""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Mapping

from balena_migrate.core.system import System
from balena_migrate.core.units import MIB

ZSTD_OPTION, GZIP_OPTION = "RD_ZSTD", "RD_GZIP"
FAST_LEVEL, SMALL_LEVEL = 6, 19
SMALL_TAKES = 12
"""How much longer the small level takes than the fast one, at most (measured on a kit's base part: 8 to 11)."""
LIMIT_S = 20.0
"""The small level is worth this much of a device's time."""


def pack(system: System, source: str, path: str, config: Mapping[str, str] | None) -> None:
    """The file at `path` is the one at `source`, compressed.

    zstd where the kernel's configuration says that it can be unpacked, else gzip, which every distribution's kernel
    can. Raises CommandError, FileError or OSError.
    """
    if config is None or config.get(ZSTD_OPTION) != "y":
        with (
            system.open(source) as plain,
            system.replacing(path) as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        ):
            shutil.copyfileobj(plain, packed, MIB)
        return
    start_s = time.monotonic()
    _zstd(system, source, path, FAST_LEVEL)
    if SMALL_TAKES * (time.monotonic() - start_s) <= LIMIT_S:
        _zstd(system, source, path, SMALL_LEVEL)


def _zstd(system: System, source: str, path: str, level: int) -> None:
    system.run(["zstd", "-q", "-f", f"-{level}", "-o", path, source])
