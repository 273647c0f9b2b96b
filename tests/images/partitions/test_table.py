# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.errors import ImageError
from balena_migrate.images.partitions import PartitionTable, TableKind
from balena_migrate.images.partitions.table import parse_head, read_table
from tests.support.images import ESP, LINUX, gpt_image, mbr_image, put, table_sector
from tests.support.tables import reader, rows, with_right_sums


def test_the_table_of_a_balenaos_image_on_mbr() -> None:
    table = read_table(reader(mbr_image()))
    assert table.kind == TableKind.DOS
    assert table.id == "1234abcd"
    assert rows(table) == [
        (1, 2048, 16384, "0e"),
        (2, 18432, 4096, "83"),
        (3, 22528, 4096, "83"),
        (4, 26624, 14336, "0f"),
        (5, 28672, 2048, "83"),
        (6, 32896, 4096, "83"),
    ]
    assert [p.bootable for p in table.partitions] == [True] + [False] * 5


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_gpt_with_short_and_long_sectors(sector_bytes: int) -> None:
    parts = [("resin-boot", ESP, 256, 100), ("resin-rootA", LINUX, 512, 7)]
    table = read_table(reader(gpt_image(parts, sector_bytes=sector_bytes)))
    assert table.kind == TableKind.GPT
    assert table.id == "00000000-0000-0000-0000-000000abcdef"
    assert [(p.number, p.start_bytes, p.size_bytes, p.type, p.name) for p in table.partitions] == [
        (1, 256 * sector_bytes, 100 * sector_bytes, ESP, "resin-boot"),
        (2, 512 * sector_bytes, 7 * sector_bytes, LINUX, "resin-rootA"),
    ]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_hybrid_table_is_the_gpt_wherever_its_mbr_says_so(place: int) -> None:
    """As lsblk has it, whose id stage 1 hands over: Debian's images for the Raspberry Pi have one."""
    image = gpt_image([("boot", ESP, 256, 100), ("root", LINUX, 512, 7)])
    entries = [(0x0C, 256, 100), (0x83, 512, 7), (0x83, 600, 1)]
    put(image, 0, table_sector([*entries[:place], (0xEE, 1, 255), *entries[place:]], disk_id=0xBADCAFE))
    table = read_table(reader(image))
    assert (table.kind, table.id) == (TableKind.GPT, "00000000-0000-0000-0000-000000abcdef")


def test_an_ebr_that_links_to_itself_ends() -> None:
    image = mbr_image()
    put(image, 26624 + 6144, table_sector([(0x83, 128, 4096), (0x05, 6144, 100)]))
    with pytest.raises(ImageError, match="circles"):
        read_table(reader(image))


def test_a_chain_without_end_ends() -> None:
    """Each EBR links to the next sector: more links than a kernel would follow."""
    extended = 2048
    image = bytearray(4096 * 512)
    image[:512] = table_sector([(0x0E, 1, 10), (0x0F, extended, 2048)], disk_id=1)
    for index in range(2000):
        put(image, extended + index, table_sector([(0x83, 1, 1), (0x05, index + 1, 1)]))
    with pytest.raises(ImageError, match="too long"):
        read_table(reader(image))


def test_an_ebr_that_leads_out_of_the_extended_partition() -> None:
    image = mbr_image()
    put(image, 26624, table_sector([(0x83, 2048, 99999)]))
    with pytest.raises(ImageError, match="leads out"):
        read_table(reader(image))


def test_a_missing_ebr() -> None:
    image = mbr_image()
    put(image, 26624 + 6144, bytes(512))
    with pytest.raises(ImageError, match="damaged or missing"):
        read_table(reader(image))


@pytest.mark.parametrize("place", [512 + 60, 1024 + 40])
def test_a_damaged_gpt_is_noticed_by_its_checksums(place: int) -> None:
    image = gpt_image()
    image[place] ^= 1
    with pytest.raises(ImageError, match="checksum"):
        read_table(reader(image))


@pytest.mark.parametrize("image", [b"", bytes(512), bytes(100), bytes(510) + b"\x55\xaa"])
def test_no_table(image: bytes) -> None:
    with pytest.raises(ImageError):
        parse_head(image)


def _parse(image: bytes) -> PartitionTable | None:
    try:
        return read_table(reader(image))
    except ImageError:
        return None


SECTORS = st.lists(
    st.tuples(st.sampled_from([0, 0x05, 0x0F, 0x83, 0xEE]), st.integers(0, 70), st.integers(0, 70)), max_size=4
)


@given(st.lists(SECTORS, min_size=1, max_size=70))
def test_any_chain_of_sectors_ends_in_a_table_or_an_image_error(sectors: list[list[tuple[int, int, int]]]) -> None:
    _parse(b"".join(table_sector(entries) for entries in sectors))


@given(st.binary(max_size=4096))
def test_any_bytes_end_in_a_table_or_an_image_error(raw: bytes) -> None:
    _parse(raw)
    _parse(raw[:510].ljust(510, b"\0") + b"\x55\xaa" + raw)


@given(st.lists(st.tuples(st.integers(0, 18000), st.integers(0, 255)), max_size=20))
def test_a_gpt_with_any_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    """Whatever is changed, it is an error or the very same partitions."""
    image = gpt_image(total_bytes=1 << 15)
    before = read_table(reader(image)).partitions
    for place, value in changes:
        image[place] = value
    table = _parse(bytes(image))
    assert table is None or table.kind == TableKind.DOS or table.partitions == before


HEADER_AND_ENTRIES = (*range(512 + 8, 512 + 92), *range(1024, 1024 + 3 * 128))


@given(st.lists(st.tuples(st.sampled_from(HEADER_AND_ENTRIES), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_gpt_that_is_absurd_and_has_the_right_sums(changes: list[tuple[int, int]]) -> None:
    """As a program with a mistake may write it: an error, or partitions in which every number makes sense."""
    image = gpt_image(total_bytes=1 << 15)
    for place, value in changes:
        image[place] = value
    table = _parse(with_right_sums(image))
    assert table is None or all(0 < part.start_bytes < part.end_bytes for part in table.partitions)


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        *((12, "<I", size) for size in (91, 0xFFFFFFFF)),
        *((72, "<Q", place) for place in (1, 1 << 60)),
        *((80, "<I", count) for count in (0, 5000)),
        *((84, "<I", size) for size in (0, 64, 1 << 31)),
    ],
)
def test_a_header_that_is_absurd_and_has_the_right_sums(place: int, field: str, value: int) -> None:
    image = gpt_image(total_bytes=1 << 15)
    struct.pack_into(field, image, 512 + place, value)
    with pytest.raises(ImageError, match=r"damaged|not entirely"):
        read_table(reader(with_right_sums(image)))
