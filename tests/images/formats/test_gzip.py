# SPDX-License-Identifier: Apache-2.0
"""gzip's members, and the zlib that unpacks them."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.errors import ImageError
from balena_migrate.images.formats import format_named, read_chunks

GZIP = format_named("gzip")


def unpack(raw: bytes, chunk_bytes: int = 1000) -> bytes:
    return b"".join(piece.data for piece in read_chunks(io.BytesIO(raw), GZIP, chunk_bytes))


@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=4), st.integers(0, 600), st.integers(1, 3000))
def test_members_one_after_another_and_a_padding_of_zeros(parts: list[bytes], padding: int, chunk_bytes: int) -> None:
    parts = [b"disk", *parts]  # else one of hypothesis' examples begins like another format
    raw = b"".join(gzip.compress(part) for part in parts) + bytes(padding)
    assert unpack(raw, chunk_bytes) == b"".join(parts)


def test_no_piece_of_a_gzip_file_needs_to_be_cut_again() -> None:
    data = gzip.compress(bytes(range(250))) + gzip.compress(bytes(1000))
    assert GZIP.pieces is not None
    ends = [piece.end_bytes for piece in GZIP.pieces(io.BytesIO(data), 100)]
    assert ends == [100, 200, 250, *range(300, 1201, 100), 1250]


def test_more_than_is_read_at_once() -> None:
    content = bytes(3 << 20) + b"".join(bytes([i % 251]) * 7777 for i in range(300)) + bytes(range(256)) * 4000
    raw = gzip.compress(content[: 4 << 20], 1) + gzip.compress(content[4 << 20 :], 9)
    assert unpack(raw, 1 << 20) == content


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_a_gzip_file_that_is_cut_short_anywhere(content: bytes, data: st.DataObject) -> None:
    raw = gzip.compress(b"disk" + content)
    cut = data.draw(st.integers(1, len(raw) - 1))
    with pytest.raises(ImageError, match=f"cut short: it ends at byte {cut}"):
        unpack(raw[:cut])


@pytest.mark.parametrize("place", [20, -8, -1])
def test_a_changed_byte_in_data_checksum_and_size_is_noticed(place: int) -> None:
    raw = bytearray(gzip.compress(bytes(range(256)) * 50))
    raw[place] ^= 0x55
    with pytest.raises(ImageError, match="damaged near byte"):
        unpack(bytes(raw))


def test_garbage_behind_the_data_is_noticed_with_its_place() -> None:
    raw = gzip.compress(b"image")
    with pytest.raises(ImageError, match=f"something else behind the packed data, from byte {len(raw)}"):
        unpack(raw + b"garbage")
    with pytest.raises(ImageError, match=f"from byte {len(raw) + 7}"):
        unpack(raw + bytes(7) + b"\x1f garbage")


def test_the_size_in_the_trailer_is_not_believed_to_be_the_image_s() -> None:
    """It is that of the last member, modulo 2^32: of 3 here."""
    raw = gzip.compress(bytes(70_000)) + gzip.compress(b"end")
    assert raw[-4:] == (3).to_bytes(4, "little")
    assert len(unpack(raw)) == 70_003


WITHOUT_ZLIB_NG = """
import gzip, io, sys
sys.modules["zlib_ng"] = None
from balena_migrate.images.formats import format_named, read_chunks
from balena_migrate.images.fast_zlib import zlib
content = bytes(range(256)) * 9000
raw = gzip.compress(content[:5000]) + gzip.compress(content[5000:])
assert b"".join(piece.data for piece in read_chunks(io.BytesIO(raw), format_named("gzip"), 1 << 20)) == content
print(zlib.__name__)
"""


@pytest.mark.processes
@pytest.mark.parametrize(("source", "name"), [(WITHOUT_ZLIB_NG, "zlib"), ("", "zlib_ng.zlib_ng")])
def test_pythons_own_zlib_takes_the_place_of_zlib_ng(source: str, name: str) -> None:
    source = source or WITHOUT_ZLIB_NG.replace('sys.modules["zlib_ng"] = None', "")
    done = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    assert done.stdout == f"{name}\n"
