# SPDX-License-Identifier: Apache-2.0
"""Root folders in place of a device's."""

from __future__ import annotations

from pathlib import Path

from balena_migrate.core.paths import STATE_DIR

Tree = dict[str, tuple[int, bytes]]


def tree(root: Path) -> Tree:
    """Every path with mode and content, but for the journal's own folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not f"/{name}".startswith(STATE_DIR):
            found[name] = (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
    return found


def quiet(_: str) -> None:
    pass
