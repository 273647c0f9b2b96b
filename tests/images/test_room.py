# SPDX-License-Identifier: Apache-2.0
"""A longer resin-data: how long it has to be, and the table that says so, as sfdisk reads it."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.errors import ImageError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images import Image
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.compose import compose
from balena_migrate.images.partitions import TableKind
from balena_migrate.images.partitions.resize import resize_last_partition
from balena_migrate.images.partitions.table import read_table
from balena_migrate.images.patches import Block, Patches, dump_patches, parse_patches
from balena_migrate.images.room import (
    LEFT_FREE_BYTES,
    MARGIN_BYTES,
    fitted_table,
    grown_room_bytes,
    grown_size_bytes,
    grown_table,
)
from balena_migrate.images.room import room_bytes as room_of
from balena_migrate.images.scan import read_image
from balena_migrate.stage2.target import open_disk
from balena_migrate.workstation.lab.lookalike.layout import plan_layout, table_sectors
from balena_migrate.workstation.lab.lookalike.specs import find_spec
from tests.support.flash import flash_image
from tests.support.images import gpt_image, make_image, mbr_image, put, table_sector
from tests.support.surveys import some_image
from tests.support.tables import DATA_FILE_SYSTEM, assert_sound, image_of, put_blocks, read_by_sfdisk

DISK_BYTES = 8192 * MIB
GPT_SCRIPT = """\
label: gpt
start=8192, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="resin-boot"
start=90112, size=2048000, name="resin-rootA"
start=2138112, size=2048000, name="resin-rootB"
start=4186112, size=40960, name="resin-state"
start=4227072, size=415744, name="resin-data"
"""
"""The layout of generic-amd64."""
GPT_IMAGE_BYTES = 2378170368


def make_mbr(path: Path, name: str) -> None:
    layout = plan_layout(find_spec(name))
    with path.open("wb") as file:
        file.truncate(layout.size_bytes)
        for offset, sector in table_sectors(layout).items():
            file.seek(offset)
            file.write(sector)


def make_gpt(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(GPT_IMAGE_BYTES)
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", path], input=GPT_SCRIPT.encode(), check=True)


@pytest.mark.processes
@pytest.mark.parametrize("size_bytes", [384 * MIB, 1408 * MIB, DISK_BYTES - LEFT_FREE_BYTES - 712 * MIB])
@pytest.mark.parametrize("name", ["intel-nuc", "intel-nuc-2.15", "raspberrypi5"])
def test_an_mbr_with_its_chain_of_records(tmp_path: Path, name: str, size_bytes: int) -> None:
    """Of all entries only those that end with resin-data are changed."""
    disk = tmp_path / "disk"
    make_mbr(disk, name)
    size_bytes = max(size_bytes, plan_layout(find_spec(name)).labelled("resin-data").size_bytes + 4 * MIB)
    size_bytes = min(size_bytes, DISK_BYTES - plan_layout(find_spec(name)).labelled("resin-data").start_bytes)
    before = read_by_sfdisk(disk)["partitions"]
    image = image_of(disk)
    put_blocks(disk, grown_table(image, size_bytes, DISK_BYTES), DISK_BYTES)
    assert_sound(disk)
    after = read_by_sfdisk(disk)["partitions"]
    end = image.data.start_bytes + size_bytes
    before[3]["size"] = end // 512 - before[3]["start"]
    before[5]["size"] = size_bytes // 512
    assert after == before
    start, count = struct.unpack("<II", read_at(disk, before[3]["start"] * 512 + 446 + 16 + 8, 8))
    assert start + count == before[3]["size"], "the link to the last record ends with its partition"
    assert read_table(lambda offset, length: read_at(disk, offset, length)).partitions[-1].end_bytes == end


def read_at(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


@pytest.mark.processes
def test_the_entries_in_sector_0_are_those_that_parted_makes(tmp_path: Path) -> None:
    """Byte for byte, cylinders included."""
    ours, parteds = tmp_path / "ours", tmp_path / "parteds"
    for path in (ours, parteds):
        make_mbr(path, "intel-nuc")
    put_blocks(ours, grown_table(image_of(ours), 384 * MIB, DISK_BYTES), DISK_BYTES)
    put_blocks(parteds, [], DISK_BYTES)
    parted(parteds, "resizepart", "4", f"{(712 + 384) * MIB - 1}B")
    assert read_at(ours, 446, 66).hex() == read_at(parteds, 446, 66).hex()


@pytest.mark.processes
@pytest.mark.parametrize("make", [lambda path: make_mbr(path, "intel-nuc"), lambda path: make_gpt(path)])
def test_balenaos_grows_it_further(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """With the commands of its resindataexpander, which begins where parted shows more than 10 MiB that are free."""
    disk = tmp_path / "disk"
    make(disk)
    image = image_of(disk)
    largest = DISK_BYTES - LEFT_FREE_BYTES - image.data.start_bytes
    put_blocks(disk, grown_table(image, largest - largest % (128 * MIB), DISK_BYTES), DISK_BYTES)
    sizes = re.findall(r"([\d.]+)MiB +Free Space$", parted(disk, "unit", "MiB", "print", "free"), re.M)
    assert max(map(float, sizes)) > 10
    if image.table.kind is TableKind.DOS:
        parted(disk, "resizepart", "4", "-1s")
    parted(disk, "resizepart", str(image.data.number), "100%")
    assert_sound(disk)
    last = read_by_sfdisk(disk)["partitions"][-1]
    assert DISK_BYTES - (last["start"] + last["size"]) * 512 <= MIB


def parted(disk: Path, *words: str) -> str:
    """Its output; it must not have anything to ask or to repair."""
    done = subprocess.run(["parted", "-s", disk, "--", *words], check=True, capture_output=True, text=True)
    assert not [line for line in done.stderr.splitlines() if "udevadm" not in line], done.stderr
    return done.stdout


@pytest.mark.processes
@pytest.mark.parametrize("disk_bytes", [DISK_BYTES, GPT_IMAGE_BYTES + 700 * MIB, (3 << 40) + 512])
def test_a_gpt_with_its_copy_at_the_end_of_the_disk(tmp_path: Path, disk_bytes: int) -> None:
    disk = tmp_path / "disk"
    make_gpt(disk)
    before = read_by_sfdisk(disk)
    image = image_of(disk)
    put_blocks(disk, grown_table(image, 768 * MIB, disk_bytes), disk_bytes)
    assert_sound(disk)
    after = read_by_sfdisk(disk)
    before["partitions"][4]["size"] = 768 * MIB // 512
    before["lastlba"] = disk_bytes // 512 - 34
    assert after == before


@pytest.mark.processes
@pytest.mark.parametrize("more", [0, 512, 4096, 33 * 512, 34 * 512, MIB, 700 * MIB + 512, DISK_BYTES])
@pytest.mark.parametrize("grow_bytes", [0, 512 * MIB])
def test_a_gpt_fits_its_disk_before_the_first_start(tmp_path: Path, more: int, grow_bytes: int) -> None:
    """Whether resin-data grows or not; sfdisk finds nothing to repair, and the image's own copy is gone."""
    disk_bytes = GPT_IMAGE_BYTES + more + (grow_bytes and DISK_BYTES)
    disk = tmp_path / "disk"
    make_gpt(disk)
    before, image = read_by_sfdisk(disk), image_of(disk)
    blocks = fitted_table(image, grow_bytes, disk_bytes)
    put_blocks(disk, patched(image, blocks), disk_bytes)
    assert_sound(disk)
    after = read_by_sfdisk(disk)
    before["partitions"][4]["size"] = (grow_bytes or 415744 * 512) // 512
    before["lastlba"] = disk_bytes // 512 - 34
    assert after == before
    at_image_end = read_at(disk, GPT_IMAGE_BYTES - 512, 8)
    assert at_image_end == (b"EFI PART" if disk_bytes == GPT_IMAGE_BYTES else bytes(8))
    assert read_at(disk, disk_bytes - 512, 8) == b"EFI PART"


def patched(image: Image, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """The blocks, by the rules for patches: in their order, none over another or over the image's end."""
    return Patches(size_bytes=image.size_bytes, blocks=blocks).blocks


@pytest.mark.processes
@pytest.mark.parametrize("more", [4096, 20 * MIB])
def test_a_composed_gpt_image_is_flashed_with_its_copy_at_the_end(tmp_path: Path, more: int) -> None:
    """By stage 2's own engine, out of the file that stage 1 hands over, onto a disk that held something else."""
    raw = make_image(tmp_path, gpt=True)
    (tmp_path / "image").write_bytes(raw)
    image = read_image(tmp_path / "image", tmp_path, lambda done, total: None)
    disk_bytes = image.size_bytes + more
    table = fitted_table(image, 0, disk_bytes)
    files = (BootFile(path="config.json", content=b"{}"),)
    patches = parse_patches(dump_patches(compose(image, files, (), tmp_path, System("/"), table=table)), "patches")
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xa5" * disk_bytes)
    with (tmp_path / "image").open("rb") as source, open_disk(disk) as target:
        flash_image(source, "raw", image.size_bytes, target, patches)
    assert_sound(disk)
    assert [part["start"] for part in read_by_sfdisk(disk)["partitions"]] == [2048, 18432]
    put_blocks(disk, [Block(offset_bytes=512, content=bytes(512))], disk_bytes)
    done = subprocess.run(["sfdisk", "--json", disk], check=True, capture_output=True, text=True)
    assert "backup appears OK" in done.stderr


@pytest.mark.processes
def test_an_mbr_says_nothing_of_its_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make_mbr(disk, "intel-nuc")
    assert fitted_table(image_of(disk), 0, DISK_BYTES) == ()
    assert fitted_table(image_of(disk), 384 * MIB, DISK_BYTES) == grown_table(image_of(disk), 384 * MIB, DISK_BYTES)


@pytest.mark.processes
def test_a_gpt_without_room_for_its_copy_is_an_error(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make_gpt(disk)
    image = replace(image_of(disk), size_bytes=4642816 * 512)
    with pytest.raises(ImageError, match="no room for its copy"):
        fitted_table(image, 0, image.size_bytes + 512)


@pytest.mark.processes
@pytest.mark.parametrize("place", [4227072, 100, 1 << 40])
def test_a_copy_that_is_elsewhere_is_left_alone(place: int, tmp_path: Path) -> None:
    """In a partition, before them all, or behind the image: whatever such a header says."""
    disk = tmp_path / "disk"
    make_gpt(disk)
    head = bytearray(read_at(disk, 0, MIB))
    struct.pack_into("<Q", head, 512 + 32, place)
    struct.pack_into("<I", head, 512 + 16, 0)
    struct.pack_into("<I", head, 512 + 16, zlib.crc32(head[512 : 512 + 92]))
    put_blocks(disk, [Block(offset_bytes=0, content=bytes(head))], GPT_IMAGE_BYTES)
    blocks = fitted_table(image_of(disk), 0, DISK_BYTES)
    assert not [block for block in blocks if not any(block.content)]


@pytest.mark.processes
def test_the_copy_of_a_gpt_is_one_that_repairs_the_table(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make_gpt(disk)
    put_blocks(disk, grown_table(image_of(disk), 768 * MIB, DISK_BYTES), DISK_BYTES)
    before = read_by_sfdisk(disk)
    put_blocks(disk, [Block(offset_bytes=512, content=bytes(512 * 33))], DISK_BYTES)
    done = subprocess.run(["sfdisk", "--json", disk], check=True, capture_output=True, text=True)
    assert "primary GPT table is corrupt" in done.stderr
    assert json.loads(done.stdout)["partitiontable"] == before


@pytest.mark.processes
def test_a_last_partition_that_is_a_primary_one(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(64 * MIB)
    script = b"label: dos\nstart=2048, size=4096, type=e\nstart=8192, size=65536\n"
    subprocess.run(["sfdisk", "-q", "--no-tell-kernel", disk], input=script, check=True)
    put_blocks(disk, grown_table(image_of(disk), 512 * MIB, DISK_BYTES), DISK_BYTES)
    assert_sound(disk)
    assert [part["size"] for part in read_by_sfdisk(disk)["partitions"]] == [4096, 512 * MIB // 512]


def test_a_table_that_would_not_be_read_as_it_is_meant() -> None:
    """The second record's link leads back: whatever such a table says, we do not write another one."""
    raw = mbr_image()
    image = replace(some_image(), table=read_table(lambda offset, length: bytes(raw[offset : offset + length])))
    put(raw, 26624 + 6144, table_sector([(0x83, 127, 4096)]))
    records = tuple(Block(offset_bytes=at * 512, content=bytes(raw[at * 512 :][:512])) for at in (26624, 32768))
    with pytest.raises(ImageError, match="cannot be changed"):
        resize_last_partition(bytes(raw[: 1 << 20]), records, image.table, image.data, 8 * MIB, DISK_BYTES)


@pytest.mark.parametrize("make", [mbr_image, gpt_image])
def test_a_partition_behind_the_disks_end(make: Any, tmp_path: Path) -> None:
    raw = bytes(make())
    (tmp_path / "image").write_bytes(raw)
    with pytest.raises(ImageError):
        grown_table(image_of(tmp_path / "image"), 64 * MIB, 64 * MIB)


# How long -----------------------------------------------------------------------------------------------------------


def with_data(**changes: Any) -> Image:
    return replace(some_image(), data_file_system=replace(DATA_FILE_SYSTEM, **changes))


USABLE = DATA_FILE_SYSTEM.usable_bytes - MARGIN_BYTES


def test_what_fits_needs_no_growth() -> None:
    assert room_of(with_data()) == USABLE
    assert grown_size_bytes(with_data(), USABLE, DISK_BYTES) is None
    assert grown_size_bytes(with_data(), USABLE + 1, DISK_BYTES) == 384 * MIB
    assert grown_size_bytes(with_data(free_blocks=0), 0, DISK_BYTES) is None, "without files there is nothing to fit"


def test_the_partition_is_as_small_as_it_can_be_and_holds_whole_groups() -> None:
    assert grown_size_bytes(with_data(), 300 * MIB, DISK_BYTES) == 384 * MIB
    assert grown_size_bytes(with_data(), 1024 * MIB, DISK_BYTES) == 1152 * MIB


@given(st.integers(1, 7000 * MIB), st.integers(900 * MIB, 7000 * MIB))
def test_what_is_promised_is_there_and_the_disks_end_stays_free(files_bytes: int, disk_bytes: int) -> None:
    image = with_data()
    size = grown_size_bytes(image, files_bytes, disk_bytes)
    room = grown_room_bytes(image, disk_bytes)
    if size is not None:
        groups = size // (128 * MIB)
        assert DATA_FILE_SYSTEM.usable_bytes_with(groups) >= files_bytes + MARGIN_BYTES > DATA_FILE_SYSTEM.usable_bytes
        assert (
            groups == DATA_FILE_SYSTEM.groups + 1
            or DATA_FILE_SYSTEM.usable_bytes_with(groups - 1) < files_bytes + MARGIN_BYTES
        )
        assert image.data.start_bytes + size + LEFT_FREE_BYTES <= disk_bytes
        assert room is not None and files_bytes <= room
    elif files_bytes > USABLE:
        assert room is None or files_bytes > room


@pytest.mark.parametrize(
    ("image", "disk_bytes"),
    [
        (with_data(can_grow=False), DISK_BYTES),
        (replace(some_image(), data_file_system=None), DISK_BYTES),
        (with_data(), 908 * MIB),
        (with_data(), 1096 * MIB + LEFT_FREE_BYTES - 1),
        (with_data(reserved_descriptor_blocks=0, descriptors_per_block=2), DISK_BYTES),
    ],
)
def test_where_it_cannot_grow(image: Image, disk_bytes: int) -> None:
    assert grown_room_bytes(image, disk_bytes) is None
    assert grown_size_bytes(image, 300 * MIB, disk_bytes) is None


def test_long_sectors_are_not_written() -> None:
    image = with_data()
    assert grown_room_bytes(replace(image, table=replace(image.table, sector_bytes=4096)), DISK_BYTES) is None
