# SPDX-License-Identifier: Apache-2.0
"""Only what is in use gets written: proven on a disk that was full of something else, by the kernel and by e2fsck."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from balena_migrate.core.block_map import BlockMap, Range
from balena_migrate.core.units import KIB, MIB
from balena_migrate.images import Image
from balena_migrate.images.formats import format_named
from balena_migrate.images.patched_image import PatchedImage
from balena_migrate.images.patches import Block, Patches
from balena_migrate.images.scan import read_image
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import write_image
from balena_migrate.stage2.target import open_disk
from tests.support.images import BOOT_SECTORS, BOOT_START, SECTOR, make_fat, put, table_sector

pytestmark = [
    pytest.mark.long,
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

STALE = b"\xa5"
ROOT, EXTENDED = BOOT_START + BOOT_SECTORS, 110_000
STATE, DATA = EXTENDED + 8192, EXTENDED + 8192 + 24_576
ROOT_SECTORS, STATE_SECTORS, DATA_SECTORS = 80_000, 16_384, 60_000
FILE_SYSTEMS = {
    "root": (ROOT, ROOT_SECTORS, ("-b", "4096")),
    "state": (STATE, STATE_SECTORS, ("-b", "1024")),
    "data": (DATA, DATA_SECTORS, ("-b", "4096", "-O", "^64bit,^metadata_csum,uninit_bg")),
}
"""First sector, number of sectors, options."""
END = DATA + DATA_SECTORS + 2048


def files_of(name: str) -> dict[str, bytes]:
    """Of many sizes, some of them zeros, none of them stale."""
    chance = random.Random(name)
    small = {f"{name}-{n % 5}/{n}": chance.randbytes(chance.randrange(9000)) for n in range(200)}
    return {**small, "zeros": bytes(2 * MIB), "large": chance.randbytes(3 * MIB), "hollow": b"a" + bytes(MIB) + b"z"}


def make_image(folder: Path) -> bytes:
    """A balenaOS-like image with an MBR, logical partitions and files in its file systems."""
    image = bytearray(END * SECTOR)
    entries = [(0x0E, BOOT_START, BOOT_SECTORS), (0x83, ROOT, ROOT_SECTORS), (0x0F, EXTENDED, END - EXTENDED)]
    put(image, 0, table_sector(entries, disk_id=0x1234ABCD))
    record = STATE + STATE_SECTORS
    links = [(0x83, STATE - EXTENDED, STATE_SECTORS), (0x05, record - EXTENDED, END - record)]
    put(image, EXTENDED, table_sector(links))
    put(image, record, table_sector([(0x83, DATA - record, DATA_SECTORS)]))
    put(image, BOOT_START, make_fat(folder / "fat.img"))
    for name, (start, sectors, options) in FILE_SYSTEMS.items():
        source = folder / name
        for path, content in files_of(name).items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(content)
        made = folder / f"{name}.ext4"
        argv = ["mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", str(source), str(made), f"{sectors // 2}k"]
        subprocess.run(argv, check=True, capture_output=True)
        put(image, start, made.read_bytes())
    return bytes(image)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def packed(raw: bytes) -> bytes:
    return gzip.compress(raw, 1)


@pytest.fixture
def image(packed: bytes, tmp_path: Path) -> Image:
    path = tmp_path / "image.gz"
    path.write_bytes(packed)
    return read_image(path, tmp_path, lambda done, total: None)


@pytest.fixture
def stale_disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(STALE * (END * SECTOR + MIB))
    return path


def flash(image: Image, disk_path: Path, block_map: BlockMap, *blocks: Block) -> PatchedImage:
    with image.path.open("rb") as source, open_disk(disk_path) as disk:
        patches = Patches(size_bytes=image.size_bytes, blocks=blocks)
        goal = PatchedImage(source, format_named(image.format), image.size_bytes, patches, block_map)
        write_image(goal, disk, FirstMibLast(), lambda progress: None, print)
        assert goal.write_bytes == sum(piece.size_bytes for piece in goal.pieces(MIB))
        return goal


@contextmanager
def mounted(disk: Path, start_sector: int, sectors: int, folder: Path) -> Iterator[Path]:
    point = folder / "mounted"
    point.mkdir(exist_ok=True)
    options = f"loop,ro,offset={start_sector * SECTOR},sizelimit={sectors * SECTOR}"
    subprocess.run(["mount", "-t", "ext4", "-o", options, disk, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def fsck_status(disk: Path, start_sector: int, sectors: int, folder: Path) -> int:
    part = folder / "part"
    with disk.open("rb") as whole:
        whole.seek(start_sector * SECTOR)
        part.write_bytes(whole.read(sectors * SECTOR))
    return subprocess.run(["e2fsck", "-fn", part], check=False, capture_output=True).returncode


def test_the_file_systems_are_whole_and_every_file_is_there(image: Image, stale_disk: Path, tmp_path: Path) -> None:
    flash(image, stale_disk, image.block_map)
    for name, (start, sectors, _) in FILE_SYSTEMS.items():
        assert fsck_status(stale_disk, start, sectors, tmp_path) == 0, name
        with mounted(stale_disk, start, sectors, tmp_path) as point:
            found = {str(path.relative_to(point)): path.read_bytes() for path in point.rglob("*") if path.is_file()}
        assert digests(found) == digests(files_of(name))


def test_what_is_free_is_left_and_all_else_is_the_image(image: Image, stale_disk: Path, raw: bytes) -> None:
    flash(image, stale_disk, image.block_map)
    disk = stale_disk.read_bytes()
    assert image.block_map.free_bytes > 30 * MIB
    for free in image.block_map.free:
        assert disk[free.start_bytes : free.end_bytes] == STALE * free.size_bytes
    for used in image.block_map.used(image.size_bytes):
        assert disk[used.start_bytes : used.end_bytes] == raw[used.start_bytes : used.end_bytes]


def test_what_is_free_is_inside_of_the_ext4_partitions(image: Image) -> None:
    inside = [(start * SECTOR, (start + sectors) * SECTOR) for start, sectors, _ in FILE_SYSTEMS.values()]
    homes = [
        next(n for n, (start, end) in enumerate(inside) if start <= free.start_bytes and free.end_bytes <= end)
        for free in image.block_map.free
    ]
    assert set(homes) == {0, 1, 2}, "of each some"


def test_a_map_that_frees_a_block_in_use_is_noticed(image: Image, stale_disk: Path, tmp_path: Path) -> None:
    """So these tests can fail: the first block behind the root's superblock is its descriptors."""
    start = ROOT * SECTOR + 4 * KIB
    wrong = BlockMap(free=tuple(sorted((*image.block_map.free, Range(start, start + 4 * KIB)), key=_start)))
    flash(image, stale_disk, wrong)
    assert fsck_status(stale_disk, ROOT, ROOT_SECTORS, tmp_path) != 0


def _start(free: Range) -> int:
    return free.start_bytes


def test_a_patch_is_written_where_the_image_is_free(image: Image, stale_disk: Path) -> None:
    free = max(image.block_map.free, key=lambda part: part.size_bytes)
    inside = Block(offset_bytes=free.start_bytes + 8 * KIB + 5, content=b"inside")
    across = Block(offset_bytes=free.end_bytes - 3, content=b"across")
    goal = flash(image, stale_disk, image.block_map, inside, across)
    disk = stale_disk.read_bytes()
    for block in (inside, across):
        assert disk[block.offset_bytes : block.end_bytes] == block.content
    assert disk[inside.offset_bytes - 1 : inside.offset_bytes] == STALE
    assert goal.write_bytes == image.size_bytes - image.block_map.free_bytes + len(b"inside") + 3
