# SPDX-License-Identifier: Apache-2.0
"""What we call free of an ext4 file system, against what e2fsprogs calls free: dumpe2fs reads it on its own."""

from __future__ import annotations

import re
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balena_migrate.core.block_map import Range
from balena_migrate.core.units import KIB, MIB
from balena_migrate.images.filesystems.ext_free import read_free
from balena_migrate.images.passing import Passing
from balena_migrate.images.pieces import in_chunks, piece

pytestmark = [pytest.mark.processes, pytest.mark.long]

FILES = {
    "large": bytes(range(1, 255)) * 20_000,
    "zeros": bytes(300_000),
    **{f"folder-{i % 7}/file-{i}": b"%d\n" % i * (i * 37 % 900) for i in range(300)},
}


def make(folder: Path, options: Sequence[str] = (), *, size_kib: int = 64 * 1024) -> Path:
    """A file system with files; starts programs."""
    path, source = folder / "ext4", folder / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    kind = [] if "-t" in options else ["-t", "ext4"]
    argv = ["mke2fs", "-q", "-F", *kind, *options, "-d", str(source), str(path), f"{size_kib}k"]
    subprocess.run(argv, check=True, capture_output=True)
    return path


def free(raw: bytes, chunk_bytes: int = MIB, start_bytes: int = 0) -> tuple[Range, ...] | None:
    """What read_free finds in a file system that passes in chunks."""
    passing = Passing(read_free(len(raw)), start_bytes)
    for chunk in in_chunks([piece(start_bytes, raw)], chunk_bytes):
        passing.take(chunk)
    return passing.result


def blocks(ranges: Sequence[Range], block_bytes: int) -> set[int]:
    return {block for part in ranges for block in range(part.start_bytes // block_bytes, part.end_bytes // block_bytes)}


def dumped(path: Path) -> tuple[int, set[int]]:
    """The block size, and the free blocks, as dumpe2fs says."""
    done = subprocess.run(["dumpe2fs", path], check=True, capture_output=True, text=True)
    found: set[int] = set()
    for line in re.findall(r"^  Free blocks: (.+)$", done.stdout, re.MULTILINE):
        for part in line.split(","):
            first, _, last = part.strip().partition("-")
            found.update(range(int(first), int(last or first) + 1))
    size = re.search(r"^Block size: +(\d+)$", done.stdout, re.MULTILINE)
    assert size is not None
    return int(size[1]), found


OPTIONS: dict[str, tuple[str, ...]] = {
    "as it comes": (),
    "blocks of 1 KiB": ("-b", "1024"),
    "blocks of 2 KiB": ("-b", "2048"),
    "blocks of 64 KiB": ("-b", "65536"),
    "few inodes": ("-b", "1024", "-N", "400"),
    "small groups": ("-b", "1024", "-g", "1024"),
    "no flex_bg": ("-b", "1024", "-O", "^flex_bg"),
    "flex_bg of 4": ("-b", "1024", "-G", "4"),
    "flex_bg of 256": ("-b", "1024", "-G", "256"),
    "32 bit": ("-b", "1024", "-O", "^64bit"),
    "no checksums": ("-b", "1024", "-O", "^metadata_csum"),
    "uninit_bg": ("-b", "1024", "-O", "^metadata_csum,uninit_bg,^64bit"),
    "no sparse_super": ("-b", "1024", "-O", "^sparse_super,^resize_inode"),
    "sparse_super2": ("-b", "1024", "-O", "sparse_super2,^resize_inode"),
    "no resize_inode": ("-b", "1024", "-O", "^resize_inode"),
    "ext2": ("-b", "1024", "-t", "ext2"),
    "ext3": ("-t", "ext3"),
    "no journal": ("-O", "^has_journal"),
    "quota": ("-O", "quota,project", "-I", "256"),
    "inline_data": ("-O", "inline_data", "-I", "512"),
    "stride": ("-b", "1024", "-E", "stride=16,stripe_width=64"),
    "packed_meta_blocks": ("-b", "1024", "-E", "packed_meta_blocks=1"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("size_kib", [64 * 1024, 41 * 1024 + 7])
def test_every_block_that_e2fsprogs_calls_used_is_used_and_no_other(
    tmp_path: Path, options: Sequence[str], size_kib: int
) -> None:
    path = make(tmp_path, options, size_kib=size_kib)
    block_bytes, wanted = dumped(path)
    found = free(path.read_bytes())
    assert found
    assert blocks(found, block_bytes) == wanted
    assert len(wanted) * block_bytes > MIB, "it shows nothing where nothing is free"


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1024, 2048, 4096]),
    st.integers(24_000, 90_000),
    st.lists(
        st.sampled_from(
            ["flex_bg", "64bit", "metadata_csum", "sparse_super", "resize_inode", "has_journal", "extent", "huge_file"]
        ),
        unique=True,
        max_size=5,
    ),
    st.integers(0, 6),
    st.sampled_from([(), ("-i", "4096"), ("-i", "65536"), ("-N", "500")]),
    st.integers(12, 24),
)
def test_odd_file_systems(
    tmp_path_factory: pytest.TempPathFactory,
    block_bytes: int,
    size_kib: int,
    without: list[str],
    flex: int,
    inodes: tuple[str, ...],
    chunk_bits: int,
) -> None:
    folder = tmp_path_factory.mktemp("ext")
    if "extent" in without:
        without = sorted({*without, "64bit"})
    if "sparse_super" in without:
        without = sorted({*without, "resize_inode"})
    features = ["-O", ",".join(f"^{name}" for name in without)] if without else []
    groups = ["-G", str(1 << flex)] if "flex_bg" not in without else []
    path = make(folder, ["-b", str(block_bytes), *features, *groups, *inodes], size_kib=size_kib)
    _, wanted = dumped(path)
    found = free(path.read_bytes(), 1 << chunk_bits, start_bytes=3 * 512)
    assert found is not None
    assert blocks(found, block_bytes) == wanted


def test_files_come_and_go(tmp_path: Path) -> None:
    """Holes in what is used, and groups that were used once."""
    path = make(tmp_path, ["-b", "1024"])
    gone = "".join(f"rm /folder-{i % 7}/file-{i}\n" for i in range(0, 300, 3)) + "rm /large\n"
    subprocess.run(["debugfs", "-w", "-f", "-", path], input=gone.encode(), check=True, capture_output=True)
    subprocess.run(["e2fsck", "-fy", path], check=False, capture_output=True)
    _, wanted = dumped(path)
    found = free(path.read_bytes())
    assert found
    assert blocks(found, 1024) == wanted


# Where nothing is free ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [("-O", "bigalloc"), ("-O", "meta_bg,^resize_inode", "-b", "1024"), ("-O", "mmp")],
    ids=lambda options: str(options[1]),
)
def test_with_a_feature_that_is_not_read_here(tmp_path: Path, options: Sequence[str]) -> None:
    assert free(make(tmp_path, options).read_bytes()) == ()


def broken(raw: bytes, offset: int, layout: str, *values: int) -> bytes:
    return raw[:offset] + struct.pack(layout, *values) + raw[offset + struct.calcsize(layout) :]


SUPERBLOCK = 1024


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    raw = make(tmp_path_factory.mktemp("plain"), ["-b", "4096"]).read_bytes()
    assert free(raw), "else nothing would show that damage counts"
    return raw


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [
        (58, "<H", 0),
        (58, "<H", 3),
        (96, "<I", 0x2C2 | 0x4),
        (96, "<I", 0x2C2 | 1 << 30),
        (100, "<I", 0x46B | 1 << 30),
        (4, "<I", 1 << 30),
        (4, "<I", 0),
        (20, "<I", 1),
        (32, "<I", 8),
        (32, "<I", 1 << 31),
        (40, "<I", 1 << 31),
        (254, "<H", 60_000),
    ],
    ids=[
        *("mounted", "with errors", "journal to replay", "unknown incompatible", "unknown read-only"),
        *("larger than the partition", "empty", "first block", "small groups", "large groups", "inodes", "descriptors"),
    ],
)
def test_with_a_superblock_that_cannot_be_trusted(plain: bytes, offset: int, layout: str, value: int) -> None:
    assert not free(broken(plain, SUPERBLOCK + offset, layout, value))


def test_behind_another_file_systems_boot_sector(tmp_path: Path) -> None:
    """mkfs.fat leaves a superblock where it is: its own sectors are before and behind it."""
    raw = make(tmp_path).read_bytes()
    assert not free(b"\xeb\x58\x90mkfs.fat" + raw[11:])
    assert not free(broken(raw, 1020, "<I", 1))


def test_where_a_bitmap_has_other_free_blocks_than_its_group(plain: bytes) -> None:
    (bitmap,) = struct.unpack_from("<I", plain, 4096)
    last = bitmap * 4096 + 16383 // 8
    assert plain[last] == 0, "the last block of the group is free"
    assert not free(broken(plain, last, "<B", 0x80))


def test_where_a_group_without_a_bitmap_has_other_free_blocks(tmp_path: Path) -> None:
    raw = make(tmp_path, ["-b", "1024"]).read_bytes()
    place = next(2048 + n * 64 for n in range(8) if raw[2048 + n * 64 + 18] & 2)
    (count,) = struct.unpack_from("<H", raw, place + 12)
    assert free(raw)
    assert not free(broken(raw, place + 12, "<H", count - 1))


def test_a_flag_that_the_kernel_does_not_heed(tmp_path: Path) -> None:
    """Without checksums of its descriptors, a file system has a bitmap for each group."""
    raw = make(tmp_path, ["-b", "4096", "-O", "^metadata_csum,^64bit,^uninit_bg"]).read_bytes()
    assert free(broken(raw, 4096 + 18, "<H", 2)) == free(raw) != ()


def test_where_a_bitmap_calls_an_inode_table_free(plain: bytes) -> None:
    bitmap, _, table, count = struct.unpack_from("<IIIH", plain, 4096)
    place = bitmap * 4096 + table // 8
    raw = broken(plain, place, "<B", plain[place] & ~(1 << table % 8))
    assert not free(broken(raw, 4096 + 12, "<H", count + 1))


def test_where_two_things_are_in_one_place(plain: bytes) -> None:
    bitmap, inodes = struct.unpack_from("<II", plain, 4096)
    assert not free(broken(plain, 4096 + 4, "<I", bitmap))
    assert not free(broken(plain, 4096 + 4, "<I", 1 << 31)), inodes


def test_where_the_image_ends_too_early(tmp_path: Path) -> None:
    raw = make(tmp_path).read_bytes()
    passing = Passing(read_free(len(raw)), 0)
    passing.take(piece(0, raw[: 64 * KIB]))
    assert passing.result is None


def test_of_no_file_system() -> None:
    assert free(bytes(MIB)) == ()
    assert free(b"") is None


@given(st.lists(st.tuples(st.integers(1024, 4096), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_damage_ends_soon_and_leads_nowhere(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    """Of a superblock and descriptors with any bytes, as they would be behind a bad download."""
    if not _MADE:
        _MADE.append(make(tmp_path_factory.mktemp("ext"), ["-b", "1024"], size_kib=10_000).read_bytes())
    damaged = bytearray(_MADE[0])
    for place, value in changes:
        damaged[place] = value
    begin_s = time.monotonic()
    for part in free(bytes(damaged)) or ():
        assert 0 < part.start_bytes < part.end_bytes <= len(damaged)
    assert time.monotonic() - begin_s < 10


_MADE: list[bytes] = []
