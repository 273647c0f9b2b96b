# SPDX-License-Identifier: Apache-2.0
"""The id of a disk's partition table, by which stage 2 finds the disk again."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images.partitions.device import has_gpt_copy, read_table_id
from tests.support.images import mbr_image


def disk(path: Path, content: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(content)
        file.truncate(8 * MIB)
    return path


@pytest.mark.processes
@pytest.mark.parametrize(("label", "size"), [("dos", 8), ("gpt", 36)])
def test_it_is_what_blkid_reads_from_the_disk(tmp_path: Path, label: str, size: int) -> None:
    path = disk(tmp_path / "disk")
    subprocess.run(
        ["sfdisk", "-q", "--no-tell-kernel", path], input=f"label: {label}\nsize=1MiB\n", text=True, check=True
    )
    told = subprocess.run(["blkid", "-p", "-s", "PTUUID", "-o", "value", path], capture_output=True, text=True)
    found = read_table_id(System(tmp_path), "/disk")
    assert (found, len(found)) == (told.stdout.strip(), size)


def test_a_disk_without_a_table_has_no_id_and_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    disk(tmp_path / "disk", b"no table here")
    assert read_table_id(System(tmp_path), "/disk") == ""
    (tmp_path / "folder").mkdir()
    for name in ("/gone", "/folder"):
        with pytest.raises(FileError, match=name):
            read_table_id(System(tmp_path), name)


def test_the_id_of_an_mbr_is_known_whatever_its_logical_partitions_are(tmp_path: Path) -> None:
    """The kernel takes those that it can read."""
    image = mbr_image()
    image[26624 * 512 : 26625 * 512] = bytes(512)
    disk(tmp_path / "disk", bytes(image[: 8 * MIB]))
    assert read_table_id(System(tmp_path), "/disk") == "1234abcd"


@pytest.mark.processes
def test_the_copy_of_a_gpt_is_seen_also_where_another_table_was_written_over_the_first_one(tmp_path: Path) -> None:
    path, system = disk(tmp_path / "disk"), System(tmp_path)
    assert not has_gpt_copy(system, "/disk", 8 * MIB)
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", path], input="label: gpt\nsize=1MiB\n", text=True, check=True)
    assert has_gpt_copy(system, "/disk", 8 * MIB)
    with path.open("r+b") as file:
        file.write(bytes(MIB))
    assert has_gpt_copy(system, "/disk", 8 * MIB)


def test_a_last_sector_that_cannot_be_read_holds_no_copy(tmp_path: Path) -> None:
    disk(tmp_path / "disk")
    assert not has_gpt_copy(System(tmp_path), "/disk", 8 * MIB + 512), "behind the end"
    assert not has_gpt_copy(System(tmp_path), "/gone", 8 * MIB)


# Tables that are not as they should be --------------------------------------------------------------------------------


def gpt_disk(path: Path) -> Path:
    script = "label: gpt\nstart=2048, size=2048, type=L\nstart=4096, size=2048, type=L\n"
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", disk(path)], input=script, text=True, check=True)
    return path


def put(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def hybrid_mbr(path: Path) -> None:
    """A second entry of the protective MBR is the first partition, as gdisk and Apple's tools make it."""
    put(path, 446 + 16, struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", 2048, 2048))


def overlapping_partitions(path: Path) -> None:
    """The second entry begins where the first does; sums over entries and header are right."""
    with path.open("rb") as file:
        head = bytearray(file.read(34 * 512))
    head[2 * 512 + 128 + 32 : 2 * 512 + 128 + 40] = struct.pack("<Q", 2048)
    head[512 + 88 : 512 + 92] = struct.pack("<I", zlib.crc32(head[2 * 512 : 34 * 512]))
    head[512 + 16 : 512 + 20] = bytes(4)
    head[512 + 16 : 512 + 20] = struct.pack("<I", zlib.crc32(head[512 : 512 + 92]))
    put(path, 0, bytes(head))


def bad_sum_in_the_copy(path: Path) -> None:
    put(path, 8 * MIB - 512 + 16, b"\xff\xff\xff\xff")


def bad_sum_in_the_first_header(path: Path) -> None:
    put(path, 512 + 16, b"\xff\xff\xff\xff")


def bad_sum_over_the_entries(path: Path) -> None:
    put(path, 2 * 512 + 56, b"x")


@pytest.mark.processes
@pytest.mark.parametrize("spoil", [hybrid_mbr, overlapping_partitions, bad_sum_in_the_copy])
def test_a_gpt_with_a_flaw_has_the_id_that_blkid_reads(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = gpt_disk(tmp_path / "disk")
    before = path.read_bytes()
    spoil(path)
    assert path.read_bytes() != before
    told = subprocess.run(["blkid", "-p", "-s", "PTUUID", "-o", "value", path], capture_output=True, text=True)
    assert read_table_id(System(tmp_path), "/disk") == told.stdout.strip() != ""


@pytest.mark.processes
@pytest.mark.parametrize("spoil", [bad_sum_in_the_first_header, bad_sum_over_the_entries])
def test_a_gpt_that_the_kernel_does_not_take_has_no_id(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """It looks at the copy only where its own argument `gpt` asks for that (block/partitions/efi.c)."""
    path = gpt_disk(tmp_path / "disk")
    spoil(path)
    assert read_table_id(System(tmp_path), "/disk") == ""


@pytest.mark.processes
def test_a_gpt_on_a_disk_with_long_sectors_has_its_id(tmp_path: Path) -> None:
    """The image of the disk has sectors of 4096 bytes: LBA 1 is at byte 4096."""
    path = disk(tmp_path / "disk")
    keys = "g n 1 256 511 x i 7D0C1C5B-2A8F-4B46-9BE4-6F1D0C8F2A31 r w".replace(" ", "\n") + "\n"
    subprocess.run(["fdisk", "-b", "4096", path], input=keys, text=True, check=True, capture_output=True)
    assert read_table_id(System(tmp_path), "/disk") == "7d0c1c5b-2a8f-4b46-9be4-6f1d0c8f2a31"
