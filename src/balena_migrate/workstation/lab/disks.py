# SPDX-License-Identifier: Apache-2.0
"""Disks of virtual devices: sparse files. Only regular files are ever written.

Partitions are mounted by offset and size, since loop devices without a partition scan have no partition nodes. `mount`
sets autoclear: the loop device disappears with the mount, so none is left behind, even if this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from balena_migrate.core.errors import CommandError, LabError
from balena_migrate.core.retry import retry
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB, SECTOR_BYTES

FIRST_PARTITION_BYTES = MIB
LINUX = "83"
SWAP_PAGE_BYTES = 4096
MOUNT_TIMEOUT_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Span:
    """The position of a partition on its disk."""

    start_bytes: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """A file system of an old system: its partition, and the folder below the root folder where it is mounted.

    The root file system's folder is "". All are ext4 but those with `fat`, which many a workstation cannot mount.
    """

    span: Span
    folder: str = ""
    fat: bool = False


def require_file(path: Path) -> Path:
    """Return the path of a regular file. Raises LabError if it is a device node or anything else."""
    if path.is_symlink() or not path.is_file():
        raise LabError(
            f"{path} is not a regular file", hint="rehearsals write to regular files only, never to a device"
        )
    return path


def make_disk(disk: Path, size_bytes: int, *, table_id: str) -> Span:
    """Create a sparse disk with an MBR and one bootable Linux partition, which has no file system; return that."""
    span = Span(start_bytes=FIRST_PARTITION_BYTES, size_bytes=size_bytes - FIRST_PARTITION_BYTES)
    make_table(disk, size_bytes, ["label: dos", f"label-id: {table_id}", f"{place(span)}, type={LINUX}, bootable"])
    return span


def make_table(disk: Path, size_bytes: int, script: Sequence[str]) -> None:
    """Create a sparse disk with the partition table that these lines of sfdisk's script describe."""
    with disk.open("xb") as file:
        file.truncate(size_bytes)
    # To tell the kernel, which has no part in a file, sfdisk would first wait for a quarter of a second.
    argv = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel"]
    System().run([*argv, require_file(disk)], data="\n".join([*script, ""]).encode())


def place(span: Span) -> str:
    """A partition's position, as sfdisk's script has it."""
    return f"start={span.start_bytes // SECTOR_BYTES}, size={span.size_bytes // SECTOR_BYTES}"


def make_ext4(disk: Path, span: Span, *, label: str, uuid: str) -> None:
    """Create an empty ext4 file system in the partition that GRUB 2.06 and every kernel since 2015 can read."""
    options = ["-E", f"offset={span.start_bytes},lazy_itable_init=1,nodiscard", "-O", "^metadata_csum_seed"]
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-U", uuid, *options]
    System().run([*argv, require_file(disk), f"{span.size_bytes // 1024}k"])


def make_fat32(disk: Path, span: Span, *, label: str, volume_id: str) -> None:
    """Create an empty FAT32 file system in the partition; `volume_id` has 8 hexadecimal digits."""
    # Clusters of 1 KiB: by the specification, fewer than 65525 clusters make it FAT16, whatever its header says.
    argv = ["mkfs.vfat", "-F", "32", "-s", "2", "-n", label, "-i", volume_id]
    argv += ["--offset", str(span.start_bytes // SECTOR_BYTES)]
    System().run([*argv, require_file(disk), str(span.size_bytes // 1024)])


def make_swap(disk: Path, span: Span, *, uuid: str) -> None:
    """Create a swap space in the partition. All that mkswap writes is in its first page."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(span.size_bytes)
        System().run(["mkswap", "--uuid", uuid, file.name])
        page = file.read(SWAP_PAGE_BYTES)
    with require_file(disk).open("r+b") as target:
        target.seek(span.start_bytes)
        target.write(page)


def read_partitions(disk: Path) -> tuple[Span, ...]:
    """The partitions of a disk file, in the table's order."""
    return tuple(
        Span(start_bytes=part["start"] * SECTOR_BYTES, size_bytes=part["size"] * SECTOR_BYTES)
        for part in read_table(disk).get("partitions", ())
    )


def read_table(disk: Path) -> dict[str, Any]:
    """A disk file's partition table as sfdisk has it. Raises CommandError if it has none."""
    table: dict[str, Any] = json.loads(System().run(["sfdisk", "--json", require_file(disk)]).stdout)["partitiontable"]
    return table


def copy_disk(source: Path, target: Path) -> None:
    """Copy a disk; the copy is as sparse as the source."""
    System().run(["cp", "--sparse=always", "--reflink=auto", require_file(source), target])


@contextlib.contextmanager
def mounted(disk: Path, span: Span, *, read_only: bool = False) -> Iterator[Path]:
    """Mount the partition's ext4 file system within the context. Needs root."""
    with mounted_system(disk, [FileSystem(span=span)], read_only=read_only) as folder:
        yield folder


@contextlib.contextmanager
def mounted_system(disk: Path, systems: Sequence[FileSystem], *, read_only: bool = False) -> Iterator[Path]:
    """Mount an old system's ext4 file systems within the context, each at its folder. Needs root.

    They are in an order in which each finds its folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="balena-migrate-lab-"))
    try:
        with contextlib.ExitStack() as held:
            for system in systems:
                if not system.fat:
                    held.enter_context(_mounted_at(folder / system.folder, disk, system.span, read_only=read_only))
            yield folder
    finally:
        folder.rmdir()  # fails on a folder that is still a mount point; never deletes its content


@contextlib.contextmanager
def _mounted_at(folder: Path, disk: Path, span: Span, *, read_only: bool) -> Iterator[None]:
    options = f"loop,offset={span.start_bytes},sizelimit={span.size_bytes}," + ("ro,noload" if read_only else "rw")
    # A loop device for reading only goes away a moment after its mount, and would be taken for this one.
    writable = [] if read_only else ["--rw"]
    argv: list[str | PurePath] = ["mount", *writable, "-t", "ext4", "-o", options, require_file(disk), folder]
    retry(lambda: System().run(argv), on=CommandError, limit_s=MOUNT_TIMEOUT_S, pause_s=0.05)
    try:
        yield
    finally:
        System().run(["umount", folder])
