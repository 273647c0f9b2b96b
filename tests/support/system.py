# SPDX-License-Identifier: Apache-2.0
"""Root folders in place of a device's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from balena_migrate.core.paths import STATE_DIR
from balena_migrate.core.system import Result, System
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.facts import DiskFacts

Tree = dict[str, tuple[int, bytes]]


def tree(root: Path) -> Tree:
    """Every path with mode and content, but for the journal's own folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not f"/{name}".startswith(STATE_DIR):
            found[name] = (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
    return found


def device_with(root: Path, disks: DiskFacts) -> System:
    """A device in this folder whose kernel and blkid show these disks, and their partitions with these UUIDs."""
    for device in disks.devices:
        folders = [root / "sys/class/block" / device.name]
        folders += [root / "sys/class/block" / parent / device.name for parent in device.parents]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "size").write_text(f"{device.size_bytes // SECTOR_BYTES}\n")
            (folder / "start").write_text(f"{device.start_bytes // SECTOR_BYTES}\n")
            if device.parents:
                (folder / "partition").write_text("1\n")

    def blkid(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        assert argv[0] == "blkid"
        text = "\n".join(f"DEVNAME={d.path}\nUUID={d.uuid}\n" for d in disks.devices if d.uuid)
        return Result(stdout=text.encode(), stderr=b"", returncode=0)

    return System(root, runner=blkid)


def quiet(_: str) -> None:
    pass
