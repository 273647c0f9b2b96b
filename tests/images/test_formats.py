# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.errors import ImageError
from balena_migrate.images.formats import ImageFormat, read_chunks, sniff_format


def unpack(raw: bytes, chunk_bytes: int = 1000) -> bytes:
    chunks = list(read_chunks(io.BytesIO(raw), ImageFormat.GZIP, chunk_bytes))
    assert all(len(chunk) == chunk_bytes for chunk in chunks[:-1])
    return b"".join(chunks)


@pytest.mark.parametrize(
    ("start", "remedy"),
    [
        (b"PK\x03\x04aaaa", "unzip"),
        (b"\xfd7zXZ\x00aa", "xz"),
        (b"\x28\xb5\x2f\xfdaaaa", "zstd"),
        (b"BZh91AY&", "bzip2"),
    ],
)
def test_other_formats_are_refused_with_a_remedy(start: bytes, remedy: str) -> None:
    with pytest.raises(ImageError) as caught:
        sniff_format(start)
    assert remedy in caught.value.hint


def test_gzip_is_known_by_its_magic_and_all_else_is_raw() -> None:
    assert sniff_format(b"\x1f\x8b\x08\x00aaaa") == ImageFormat.GZIP
    assert sniff_format(b"\xfa\xb8\x00\x10") == ImageFormat.RAW
    assert sniff_format(b"") == ImageFormat.RAW


@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=4), st.integers(0, 600), st.integers(1, 3000))
def test_members_one_after_another_and_a_padding_of_zeros(parts: list[bytes], padding: int, chunk_bytes: int) -> None:
    raw = b"".join(gzip.compress(part) for part in parts) + bytes(padding)
    assert unpack(raw, chunk_bytes) == b"".join(parts)


def test_more_than_is_read_at_once() -> None:
    content = bytes(3 << 20) + b"".join(bytes([i % 251]) * 7777 for i in range(300)) + bytes(range(256)) * 4000
    raw = gzip.compress(content[: 4 << 20], 1) + gzip.compress(content[4 << 20 :], 9)
    assert unpack(raw, 1 << 20) == content


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_a_gzip_file_that_is_cut_short_anywhere(content: bytes, data: st.DataObject) -> None:
    raw = gzip.compress(content)
    cut = data.draw(st.integers(1, len(raw) - 1))
    with pytest.raises(ImageError, match="cut short"):
        unpack(raw[:cut])


@pytest.mark.parametrize("place", [20, -8, -1])
def test_a_changed_byte_in_data_checksum_and_size_is_noticed(place: int) -> None:
    raw = bytearray(gzip.compress(bytes(range(256)) * 50))
    raw[place] ^= 0x55
    with pytest.raises(ImageError, match="damaged near byte"):
        unpack(bytes(raw))


def test_garbage_behind_the_data_is_noticed() -> None:
    with pytest.raises(ImageError, match="something else behind"):
        unpack(gzip.compress(b"image") + b"garbage")
    with pytest.raises(ImageError):
        unpack(gzip.compress(b"image") + b"\x1f garbage")


def test_the_size_in_the_trailer_is_not_believed_to_be_the_image_s() -> None:
    """It is that of the last member, modulo 2^32: of 3 here."""
    raw = gzip.compress(bytes(70_000)) + gzip.compress(b"end")
    assert raw[-4:] == (3).to_bytes(4, "little")
    assert len(unpack(raw)) == 70_003
