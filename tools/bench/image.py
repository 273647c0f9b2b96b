# SPDX-License-Identifier: Apache-2.0
"""The image that everyone writes: balenaOS's layout, with real files of this machine in its file systems.

It is made without root and without mounts, once, and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from balena_migrate.core.block_map import BlockMap, Range
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB, MIB, SECTOR_BYTES
from balena_migrate.images import Image
from balena_migrate.images.formats.zstd import SMALL_FRAME_BYTES
from balena_migrate.images.prepare import prepare
from balena_migrate.images.scan import read_image
from balena_migrate.images.zstd_packing import LEVEL
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.lab.lookalike.layout import Layout, Partition, plan_layout, table_sectors
from balena_migrate.workstation.lab.lookalike.specs import ImageSpec, find_spec
from balena_migrate.workstation.mtools import FatDrive

FILES_FROM = Path("/usr")
LARGEST_FILE_BYTES = 16 * MIB
RECIPE = 1
"""To be raised with each change to how the image is made."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """How large the partitions are, and how many bytes of files each gets, at most."""

    spec: ImageSpec
    boot_bytes: int
    root_bytes: int
    data_bytes: int


FULL = Contents(spec=find_spec("raspberrypi3-64"), boot_bytes=24 * MIB, root_bytes=230 * MIB, data_bytes=60 * MIB)
"""908 MiB, about 40 % of them in use."""
_SMALL_SPEC = replace(FULL.spec, boot_bytes=12 * MIB, root_bytes=34 * MIB, state_bytes=12 * MIB, data_bytes=20 * MIB)
SMALL = Contents(spec=_SMALL_SPEC, boot_bytes=9 * MIB, root_bytes=20 * MIB, data_bytes=4 * MIB)
"""128 MiB, less than half of them in use: an emulated card takes 4 MiB a second, and its size is a power of two."""
_TINY_SPEC = replace(FULL.spec, boot_bytes=20 * MIB, root_bytes=8 * MIB, state_bytes=4 * MIB, data_bytes=8 * MIB)
TINY = Contents(spec=_TINY_SPEC, boot_bytes=MIB, root_bytes=2 * MIB, data_bytes=MIB)
"""For tests."""


@dataclass(frozen=True, kw_only=True)
class BenchImage:
    """The image in its forms; `starts` is where its ext4 file systems start."""

    raw: Path
    """Sparse."""
    packed: Path
    """As shipped: .img.gz."""
    prepared: Path
    """.img.zst with zeros in place of what is free."""
    bmap: Path
    """What `bmaptool create` says of the raw image."""
    size_bytes: int
    block_map: BlockMap
    starts: tuple[int, ...]

    @property
    def used(self) -> tuple[Range, ...]:
        return self.block_map.used(self.size_bytes)

    @property
    def used_bytes(self) -> int:
        return self.size_bytes - self.block_map.free_bytes


def bench_image(cache: Path, contents: Contents) -> BenchImage:
    """The image in all its forms, made now or earlier. Raises CommandError if a program fails or is missing."""
    folder = cached(cache, "bench-image", (RECIPE, contents), lambda folder: _make(contents, folder))
    raw = folder / "bench.img"
    with tempfile.TemporaryDirectory(dir=cache) as work:
        image = read_image(raw, Path(work), lambda done, total: None)
    recipe = (folder.name, LEVEL, SMALL_FRAME_BYTES, image.block_map)
    prepared = cached(cache, "bench-prepared", recipe, lambda folder: _prepare(image, folder))
    return BenchImage(
        raw=raw,
        packed=folder / "bench.img.gz",
        prepared=prepared / "bench.img.zst",
        bmap=folder / "bench.bmap",
        size_bytes=image.size_bytes,
        block_map=image.block_map,
        starts=tuple(part.start_bytes for part in _ext4_partitions(plan_layout(contents.spec))),
    )


def _ext4_partitions(layout: Layout) -> Iterator[Partition]:
    return (part for part in layout.partitions if part.label not in ("", "resin-boot"))


# Its forms ----------------------------------------------------------------------------------------------------------


def _make(contents: Contents, folder: Path) -> None:
    raw = folder / "bench.img"
    with tempfile.TemporaryDirectory(dir=folder) as work:
        _make_raw(contents, raw, Path(work))
    System().run(["bmaptool", "create", "-o", folder / "bench.bmap", raw])
    System().run(["gzip", "-6", "-k", "-n", raw], timeout_s=None)


def _prepare(image: Image, folder: Path) -> None:
    """The best form to ship, as `balena-migrate image prepare` makes it."""
    with (folder / "bench.img.zst").open("wb") as file:
        prepare(image, file, lambda done, total: None)


# The raw image ------------------------------------------------------------------------------------------------------


def _make_raw(contents: Contents, raw: Path, work: Path) -> None:
    layout = plan_layout(contents.spec)
    with raw.open("wb") as file:
        file.truncate(layout.size_bytes)
        for offset, sector in table_sectors(layout).items():
            file.seek(offset)
            file.write(sector)
    files = real_files(FILES_FROM)
    _make_boot(layout.labelled("resin-boot"), _copy(files, contents.boot_bytes, work / "boot"), raw)
    filled = {"resin-rootA": contents.root_bytes, "resin-data": contents.data_bytes}
    for part in _ext4_partitions(layout):
        _make_ext4(part, _copy(files, filled.get(part.label, 0), work / part.label), raw)


def real_files(top: Path) -> Iterator[Path]:
    """The files below a folder, in the order of their names' hashes: programs, libraries and texts mixed, the same each
    time."""
    paths = (Path(folder, name) for folder, _, names in os.walk(top) for name in names)
    for path in sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(path)).digest()):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_FILE_BYTES:
            yield path


def _copy(files: Iterator[Path], limit_bytes: int, target: Path) -> Path:
    """The folder holds the next of the files, of that many bytes at most. Files that do not fit are left out. Their
    names are numbers, a hundred in each folder: FAT takes no others that differ in their case alone.
    """
    target.mkdir()
    left, number = limit_bytes, 0
    while left > 64 * KIB and (path := next(files, None)) is not None:
        if (size := path.stat().st_size) <= left:
            place = target / str(number // 100) / str(number)
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, place)
            left, number = left - size, number + 1
    return target


def _make_boot(part: Partition, folder: Path, raw: Path) -> None:
    sector, blocks = str(part.start_bytes // SECTOR_BYTES), str(part.size_bytes // KIB)
    System().run(["mkfs.fat", "-F", "16", "-n", part.label, "--offset", sector, raw, blocks])
    FatDrive(image=raw, offset_bytes=part.start_bytes).copy_in([folder])


def _make_ext4(part: Partition, folder: Path, raw: Path) -> None:
    argv: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-i", "8192", "-L", part.label, "-d", folder]
    System().run([*argv, "-E", f"offset={part.start_bytes},nodiscard", raw, f"{part.size_bytes // KIB}k"])
