# SPDX-License-Identifier: Apache-2.0
"""What the running kernel was configured with, where that is to be had."""

from __future__ import annotations

import gzip
import io
import zlib

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB

RUNNING = "/proc/config.gz"
"""There with CONFIG_IKCONFIG_PROC."""
INSTALLED = ("/boot/config-{release}", "/lib/modules/{release}/config")
LIMIT_BYTES = 4 * MIB


def read_kernel_config(system: System, release: str) -> dict[str, str] | None:
    """Option -> value, "y" or "m", of what is set; None where nothing says how the kernel was configured."""
    try:
        if system.is_file(RUNNING):
            with gzip.open(io.BytesIO(system.read_bytes(RUNNING))) as file:
                return parse_kernel_config(file.read(LIMIT_BYTES).decode("utf-8", "replace"))
        for pattern in INSTALLED:
            path = pattern.format(release=release)
            if system.is_file(path):
                return parse_kernel_config(system.read_text(path, limit_bytes=LIMIT_BYTES))
    except (FileError, OSError, EOFError, zlib.error):
        pass
    return None


def parse_kernel_config(text: str) -> dict[str, str]:
    """Of the lines CONFIG_X=y: what is set, without the CONFIG_."""
    pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {key.removeprefix("CONFIG_"): value for key, _, value in pairs}
