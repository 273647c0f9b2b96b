# SPDX-License-Identifier: Apache-2.0
"""Disks of virtual devices: sparse files. Only regular files are ever written.

Partitions are mounted by offset and size, since loop devices without a partition scan have no partition nodes. `mount`
sets autoclear: the loop device disappears with the mount, so none is left behind, even if this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB, SECTOR_BYTES

FIRST_PARTITION_BYTES = MIB
LINUX = "83"


@dataclass(frozen=True, kw_only=True)
class Span:
    """The position of a partition on its disk."""

    start_bytes: int
    size_bytes: int


def require_file(path: Path) -> Path:
    """Return the path of a regular file. Raises LabError if it is a device node or anything else."""
    if path.is_symlink() or not path.is_file():
        raise LabError(
            f"{path} is not a regular file", hint="rehearsals write to regular files only, never to a device"
        )
    return path


def make_disk(disk: Path, size_bytes: int, *, table_id: str) -> Span:
    """Create a sparse disk with an MBR and one bootable Linux partition, which has no file system; return that."""
    return make_partitions(disk, size_bytes, table_id=table_id)[0]


def make_partitions(disk: Path, size_bytes: int, *, table_id: str, second_bytes: int = 0) -> tuple[Span, ...]:
    """The same with a second partition of that size at the end of the disk, if it is not 0; return all of them."""
    with disk.open("xb") as file:
        file.truncate(size_bytes)
    first = Span(start_bytes=FIRST_PARTITION_BYTES, size_bytes=size_bytes - FIRST_PARTITION_BYTES - second_bytes)
    spans = [first]
    if second_bytes:
        spans.append(Span(start_bytes=first.start_bytes + first.size_bytes, size_bytes=second_bytes))
    rows = [f"start={s.start_bytes // SECTOR_BYTES}, size={s.size_bytes // SECTOR_BYTES}, type={LINUX}" for s in spans]
    script = "\n".join(["label: dos", f"label-id: {table_id}", f"{rows[0]}, bootable", *rows[1:]]) + "\n"
    System().run(["sfdisk", "--quiet", "--no-reread", require_file(disk)], data=script.encode())
    return tuple(spans)


def make_ext4(disk: Path, span: Span, *, label: str, uuid: str) -> None:
    """Create an empty ext4 file system in the partition that GRUB 2.06 and every kernel since 2015 can read."""
    options = ["-E", f"offset={span.start_bytes},lazy_itable_init=1,nodiscard", "-O", "^metadata_csum_seed"]
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-U", uuid, *options]
    System().run([*argv, require_file(disk), f"{span.size_bytes // 1024}k"])


def read_partitions(disk: Path) -> tuple[Span, ...]:
    """The partitions of a disk file, in the table's order."""
    table = json.loads(System().run(["sfdisk", "--json", require_file(disk)]).stdout)["partitiontable"]
    return tuple(
        Span(start_bytes=part["start"] * SECTOR_BYTES, size_bytes=part["size"] * SECTOR_BYTES)
        for part in table.get("partitions", ())
    )


def copy_disk(source: Path, target: Path) -> None:
    """Copy a disk; the copy is as sparse as the source."""
    System().run(["cp", "--sparse=always", "--reflink=auto", require_file(source), target])


@contextlib.contextmanager
def mounted(disk: Path, span: Span, *, usr: Span | None = None, read_only: bool = False) -> Iterator[Path]:
    """Mount the partition's file system within the context, and that of /usr on it. Needs root."""
    folder = Path(tempfile.mkdtemp(prefix="balena-migrate-lab-"))
    try:
        with contextlib.ExitStack() as held:
            held.enter_context(_mounted_at(folder, disk, span, read_only=read_only))
            if usr:
                held.enter_context(_mounted_at(folder / "usr", disk, usr, read_only=read_only))
            yield folder
    finally:
        folder.rmdir()  # fails on a folder that is still a mount point; never deletes its content


@contextlib.contextmanager
def _mounted_at(folder: Path, disk: Path, span: Span, *, read_only: bool) -> Iterator[None]:
    options = f"loop,offset={span.start_bytes},sizelimit={span.size_bytes}," + ("ro,noload" if read_only else "rw")
    System().run(["mount", "-t", "ext4", "-o", options, require_file(disk), folder])
    try:
        yield
    finally:
        System().run(["umount", folder])
