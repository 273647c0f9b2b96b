# SPDX-License-Identifier: Apache-2.0
"""Our reader against what mkfs.fat and mtools wrote."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.filesystems.fat import Fat
from tests.support.images import BOOT_FILES, make_fat
from tests.support.tables import reader

pytestmark = pytest.mark.processes

KERNEL = bytes(range(256)) * 8192
"""2 MiB."""


@pytest.mark.parametrize("bits", [16, 32])
def test_names_contents_label_and_free_space(tmp_path: Path, bits: int) -> None:
    files = {**BOOT_FILES, "UPPER.TXT": b"u", "Mixed Name.x": b"", "big": bytes(range(256)) * 1000}
    files["overlays/" + "long" * 40] = b"l"
    fat = Fat(reader(make_fat(tmp_path / "fat", files, bits=bits)))
    fat.check()
    assert fat.geometry.is_fat32 == (bits == 32)
    assert fat.label == "resin-boot"
    assert {path: fat.read_file(path) for path in fat.files} == files
    assert fat.find("OVERLAYS/SOME-LONG-NAME.DTBO") is not None
    assert fat.find("nothing") is None


def made_fat(path: Path, size_bytes: int, *options: str) -> Path:
    """A sparse file with a file system of this size, and the file KERNEL.IMG in it."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run(["mkfs.fat", *options, path], check=True, capture_output=True)
    subprocess.run(["mcopy", "-i", path, "-", "::KERNEL.IMG"], input=KERNEL, check=True, capture_output=True)
    return path


@contextmanager
def opened(path: Path) -> Iterator[Fat]:
    with path.open("rb") as file:
        yield Fat(lambda offset, length: os.pread(file.fileno(), length, offset))


@pytest.mark.parametrize("size_mib", [512, 1024])
def test_clusters_of_one_sector_in_a_large_boot_partition(tmp_path: Path, size_mib: int) -> None:
    """One and two million: the allocation table has 4 and 8 MiB. Memory and time stay small on a Raspberry Pi."""
    path = made_fat(tmp_path / "fat", size_mib * MIB, "-F", "32", "-s", "1")
    tracemalloc.start()
    start = time.monotonic()
    with opened(path) as fat:
        fat.check()
        assert fat.read_file("KERNEL.IMG") == KERNEL
        free_clusters = fat.free_clusters
    seconds, (_, peak_bytes) = time.monotonic() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fat.geometry.cluster_bytes == 512
    assert free_clusters == fat.geometry.cluster_count - len(KERNEL) // 512 - 1
    assert seconds < 10
    assert peak_bytes < 8 * fat.geometry.fat_bytes + 3 * len(KERNEL)


def test_neighbouring_clusters_are_read_at_once(tmp_path: Path) -> None:
    raw = made_fat(tmp_path / "fat", 64 * MIB, "-F", "32", "-s", "1").read_bytes()
    reads: list[int] = []

    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return raw[offset : offset + length]

    fat = Fat(read)
    reads.clear()
    assert fat.read_file("KERNEL.IMG") == KERNEL
    assert reads == [len(KERNEL)]


@pytest.mark.parametrize(("bits", "sector_bytes"), [("16", 1024), ("16", 4096), ("32", 2048), ("32", 4096)])
def test_logical_sectors_of_another_size(tmp_path: Path, bits: str, sector_bytes: int) -> None:
    size_bytes = (300 if bits == "32" else 40) * MIB
    path = made_fat(tmp_path / "fat", size_bytes, "-F", bits, "-S", str(sector_bytes), "-s", "1")
    with opened(path) as fat:
        fat.check()
        assert fat.read_file("KERNEL.IMG") == KERNEL
    assert (fat.geometry.sector_bytes, fat.geometry.cluster_bytes) == (sector_bytes, sector_bytes)


def test_the_reserved_bits_of_an_entry_do_not_count(tmp_path: Path) -> None:
    raw = bytearray(made_fat(tmp_path / "fat", 64 * MIB, "-F", "32", "-s", "1").read_bytes())
    geometry, free = Fat(reader(raw)).geometry, Fat(reader(raw)).free_clusters
    for copy in range(2):
        start = geometry.fat_start + copy * geometry.fat_bytes
        for cluster in range(2, geometry.cluster_count):
            raw[start + 4 * cluster + 3] |= 0xF0
    fat = Fat(reader(raw))
    fat.check()
    assert (fat.free_clusters, fat.read_file("KERNEL.IMG")) == (free, KERNEL)


def test_a_table_that_no_boot_partition_needs_is_not_read(tmp_path: Path) -> None:
    raw = bytearray(made_fat(tmp_path / "fat", 64 * MIB, "-F", "32", "-s", "1").read_bytes()[:512])
    raw[36:40] = (17 * MIB // 512).to_bytes(4, "little")
    with pytest.raises(ImageError, match="more than the FAT of any balenaOS image"):
        Fat(reader(raw))


def test_many_files_in_one_folder(tmp_path: Path) -> None:
    files = {f"folder/a-rather-long-name-{i:03}": str(i).encode() for i in range(150)}
    fat = Fat(reader(make_fat(tmp_path / "fat", files)))
    assert {path: fat.read_file(path) for path in fat.files} == files


def test_fat12_and_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="FAT12"):
        Fat(reader(make_fat(tmp_path / "fat", {}, bits=12, cluster_sectors=8)))
    with pytest.raises(ImageError, match="not a FAT"):
        Fat(reader(bytes(4096)))
    with pytest.raises(ImageError, match="truncated"):
        Fat(reader(make_fat(tmp_path / "fat")[:2048]))


def test_a_loop_in_a_chain_ends(tmp_path: Path) -> None:
    raw = bytearray(make_fat(tmp_path / "fat", {"file": bytes(2000)}))
    geometry = Fat(reader(raw)).geometry
    for copy in range(2):  # the file's clusters are 2, 3, 4, 5
        place = geometry.fat_start + copy * geometry.fat_bytes + 5 * 2
        raw[place : place + 2] = (3).to_bytes(2, "little")
    with pytest.raises(ImageError, match="leads to cluster 3"):
        Fat(reader(raw))


def test_check_finds_lost_clusters_and_differing_tables(tmp_path: Path) -> None:
    raw = bytearray(make_fat(tmp_path / "fat", {"file": bytes(2000)}))
    geometry = Fat(reader(raw)).geometry
    place = geometry.fat_start + 100 * 2
    raw[place : place + 2] = b"\xff\xff"
    with pytest.raises(ImageError, match="differ"):
        Fat(reader(raw)).check()
    raw[place + geometry.fat_bytes : place + geometry.fat_bytes + 2] = b"\xff\xff"
    with pytest.raises(ImageError, match="lost clusters"):
        Fat(reader(raw)).check()


def test_check_finds_a_file_that_is_longer_than_its_chain(tmp_path: Path) -> None:
    raw = make_fat(tmp_path / "fat", {"file": bytes(2000)})
    longer = raw.replace((2000).to_bytes(4, "little"), (9000).to_bytes(4, "little"), 1)
    fat = Fat(reader(longer))
    with pytest.raises(ImageError, match="does not match its clusters"):
        fat.check()
    with pytest.raises(ImageError, match="truncated"):
        fat.read_file("file")


def test_any_flipped_bytes_end_in_a_file_system_or_an_image_error(tmp_path: Path) -> None:
    """In the boot sector, the tables and the root folder."""
    whole = make_fat(tmp_path / "fat")
    end = Fat(reader(whole)).geometry.data_start
    chance = random.Random(1)
    for _ in range(150):
        raw = bytearray(whole)
        for _ in range(chance.randrange(1, 9)):
            raw[chance.randrange(chance.choice((64, 600, end)))] = chance.randrange(256)
        with contextlib.suppress(ImageError):
            fat = Fat(reader(raw))
            fat.check()
            for path in fat.files:
                fat.read_file(path)


@pytest.mark.parametrize("bits", [16, pytest.param(32, marks=pytest.mark.long)])
def test_any_damage_to_folders_ends_in_a_file_system_or_an_image_error_in_time(bits: int, tmp_path: Path) -> None:
    """Entries, long names and the chains behind them; and file systems that are cut off."""
    files = {**BOOT_FILES, "efi/bootx64.efi": b"MZ" * 900, "overlays/" + "long" * 40: b"l"}
    whole = make_fat(tmp_path / "fat", files, bits=bits)
    geometry = Fat(reader(whole)).geometry
    chance, seen = random.Random(bits), 0
    start_s = time.process_time()
    for _ in range(60):
        raw = bytearray(whole)
        for _ in range(chance.randrange(1, 12)):
            place = chance.choice((geometry.root_start, geometry.data_start, geometry.fat_start)) + chance.randrange(
                2048
            )
            raw[place : place + 2] = chance.randbytes(2)
        with contextlib.suppress(ImageError):
            fat = Fat(reader(raw[: len(raw) if chance.randrange(3) else chance.randrange(len(raw))]))
            seen += 1
            for path in fat.files:
                with contextlib.suppress(ImageError):
                    fat.read_start(path, 4096)
                    fat.read_file(path)
            fat.check()
    assert seen, "nothing was read at all"
    assert time.process_time() - start_s < 20
