# SPDX-License-Identifier: Apache-2.0
"""zstd: windows, frames, and what libzstd alone would not notice."""

from __future__ import annotations

import io

import pytest
import zstandard
from zstandard import ZstdCompressionParameters, ZstdCompressor

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import KIB, MIB
from balena_migrate.images.formats import START_BYTES, format_named, read_chunks

ZSTD = format_named("zstd")
MAGIC = b"\x28\xb5\x2f\xfd"
CONTENT = bytes(range(256)) * 3000
LARGEST = 128 * MIB + 512 * KIB


def unpack(raw: bytes) -> bytes:
    return b"".join(piece.data for piece in read_chunks(io.BytesIO(raw), ZSTD, MIB))


def packed(window_log: int = 20, *, with_size: bool = True, checksum: bool = True) -> bytes:
    parameters = ZstdCompressionParameters(
        window_log=window_log, write_content_size=with_size, write_checksum=checksum, compression_level=1
    )
    compressor = ZstdCompressor(compression_params=parameters)
    if with_size:
        return compressor.compress(CONTENT)
    stream = compressor.compressobj()
    return stream.compress(CONTENT) + stream.flush()


@pytest.mark.parametrize("window_log", [10, 19, 22, 25])
@pytest.mark.parametrize("with_size", [False, True])
def test_the_memory_is_that_of_the_window(window_log: int, with_size: bool) -> None:
    raw = packed(window_log, with_size=with_size)
    window = zstandard.get_frame_parameters(raw).window_size
    assert ZSTD.memory_bytes(raw[:START_BYTES]) == window + 512 * KIB
    skippable = b"\x5f\x2a\x4d\x18" + (9).to_bytes(4, "little") + bytes(9)
    assert ZSTD.memory_bytes((skippable + raw)[:START_BYTES]) == window + 512 * KIB
    assert unpack(skippable + raw + skippable) == CONTENT


@pytest.mark.parametrize("start", [b"", MAGIC, b"\x5f\x2a\x4d\x18\xff\xff\xff\xff", bytes(START_BYTES)])
def test_where_the_window_is_not_to_be_seen_it_may_be_the_largest(start: bytes) -> None:
    assert ZSTD.memory_bytes(start) == LARGEST


def test_a_larger_window_is_refused_before_its_memory_is_taken() -> None:
    for header in (
        bytes([0, (28 - 10) << 3]),
        bytes([0, (27 - 10) << 3 | 1]),
        b"\xe0" + (1 << 40).to_bytes(8, "little"),
    ):
        with pytest.raises(ImageError, match=r"needs \d+ MiB of memory to unpack; 128 MiB is the most.*--long"):
            unpack(MAGIC + header + bytes(100))
    nothing = b"\x01\x00\x00"
    assert unpack(MAGIC + bytes([0, (27 - 10) << 3]) + nothing) == b"", "as zstd --long=27 makes it"


def test_a_content_size_that_lies_is_noticed() -> None:
    raw = packed()
    size = zstandard.frame_content_size(raw)
    place = raw.index(size.to_bytes(4, "little"))
    for wrong in (size - 1, size + 1, 0):
        with pytest.raises(ImageError, match="is damaged near byte"):
            unpack(raw[:place] + wrong.to_bytes(4, "little") + raw[place + 4 :])


@pytest.mark.parametrize("checksum", [False, True])
def test_a_frame_that_is_cut_short_anywhere_is_noticed(checksum: bool) -> None:
    """libzstd's own reader takes the end of the file for an end."""
    raw = packed(checksum=checksum)
    for cut in (*range(1, 30), len(raw) // 2, *range(len(raw) - 9, len(raw))):
        with pytest.raises(ImageError, match=f"cut short: it ends at byte {cut}"):
            unpack(raw[:cut])


def test_what_is_no_frame_is_noticed_with_its_place() -> None:
    raw = packed()
    for rest in (b"garbage", bytes(4), b"\x1f\x8b\x08\x00"):
        with pytest.raises(ImageError, match=f"something else.*from byte {len(raw)}"):
            unpack(raw + rest)


def test_frames_one_after_another() -> None:
    assert unpack(packed() + packed(with_size=False, checksum=False) + packed()) == 3 * CONTENT
