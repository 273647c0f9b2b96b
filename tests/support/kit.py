# SPDX-License-Identifier: Apache-2.0
"""A kit with a few small files in the places of the real ones, and its list."""

from __future__ import annotations

from pathlib import Path

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.kit import STARTED, SUMS_FILE, Kit
from balena_migrate.core.kit_sums import format_sums, read_folder

PROGRAMS = (*STARTED, "base/bin/python3", "more/bin/mtools")
TEXTS = ("base/architecture", "base/lib/libc.so.6", "more/start.py", "more/licenses/with space")
LINK = "more/bin/mcopy"


def make_kit(folder: Path, *, text: str = "") -> Kit:
    """The kit in the folder, which does not exist; with another text it is another kit."""
    for name in (*PROGRAMS, *TEXTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}{text}\n")
        (folder / name).chmod(0o755 if name in PROGRAMS else 0o644)
    (folder / "base/architecture").write_text("amd64\n")
    (folder / LINK).symlink_to("mtools")
    write_list(folder)
    return Kit(path=folder, architecture=Architecture.AMD64)


def write_list(folder: Path) -> None:
    """The list is that of the files as they are."""
    (folder / SUMS_FILE).write_text(format_sums(read_folder(folder)))
