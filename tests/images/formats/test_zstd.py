# SPDX-License-Identifier: Apache-2.0
"""zstd: windows, frames, and what libzstd alone would not notice."""

from __future__ import annotations

import io
import random
import tracemalloc

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
    found = bytearray()
    assert ZSTD.pieces is not None
    for piece in ZSTD.pieces(io.BytesIO(raw), MIB):
        assert piece.offset_bytes == len(found)
        found += piece.data
    return bytes(found)


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
def test_the_memory_is_that_of_the_window(window_log: int) -> None:
    raw = packed(window_log, with_size=False)
    window = zstandard.get_frame_parameters(raw).window_size
    assert ZSTD.memory_bytes(raw[:START_BYTES]) == window + 512 * KIB
    skippable = b"\x5f\x2a\x4d\x18" + (9).to_bytes(4, "little") + bytes(9)
    assert ZSTD.memory_bytes((skippable + raw)[:START_BYTES]) == window + 512 * KIB
    assert unpack(skippable + raw + skippable) == CONTENT


def test_the_memory_of_small_frames_is_that_of_those_at_hand() -> None:
    """Two that are unpacked and one that is used, packed and unpacked: 3 * 2 MiB, and what libzstd works with."""
    large = ZstdCompressor(level=1).compress(bytes(MIB + 1))
    assert ZSTD.memory_bytes(packed()[:START_BYTES]) == 7 * MIB
    assert ZSTD.memory_bytes(large[:START_BYTES]) == zstandard.get_frame_parameters(large).window_size + 512 * KIB


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


# Small frames -------------------------------------------------------------------------------------------------------


def frames(*contents: bytes) -> list[bytes]:
    return [ZstdCompressor(level=1, write_checksum=True).compress(content) for content in contents]


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_small_and_large_frames_in_any_order() -> None:
    contents = [noise(70_000, 1), bytes(MIB), noise(MIB, 2), b"", bytes(3 * MIB), noise(MIB + 1, 3), b"end"]
    for order in ((0, 1, 2, 3, 4, 5, 6), (5, 2, 2, 0, 6), (3, 3, 1, 1, 1, 0), (4, 6, 6, 6, 6, 4, 1)):
        wanted = [contents[number] for number in order]
        assert unpack(b"".join(frames(*wanted))) == b"".join(wanted)


def test_pieces_are_cut_to_the_limit_wherever_a_frame_begins() -> None:
    raw = b"".join(frames(noise(500_000, 1), noise(MIB, 2), bytes(MIB), noise(9, 3)))
    assert ZSTD.pieces is not None
    ends = [piece.end_bytes for piece in ZSTD.pieces(io.BytesIO(raw), MIB)]
    first, second, third = 500_000, 500_000 + MIB, 500_000 + 2 * MIB
    assert ends == [first, MIB, second, 2 * MIB, third, third + 9]


def test_a_frame_of_zeros_is_unpacked_once_and_known_again() -> None:
    """The second one may be unpacked before the first is known; all that are taken after that are not unpacked."""
    free, used = bytes(MIB), noise(MIB, 1)
    raw = b"".join(frames(free, used, used, used, free, used, free, free[1:]))
    found = list(read_chunks(io.BytesIO(raw), ZSTD, MIB))
    assert b"".join(piece.data for piece in found) == free + 3 * used + free + used + free + free[1:]
    assert [piece.content is None for piece in found] == [False, False, False, False, True, False, True, False]


def test_damage_in_any_small_frame_is_noticed() -> None:
    """Their checksum tells, also for one of zeros after others like it."""
    packed_frames = frames(noise(MIB, 1), bytes(MIB), bytes(MIB), noise(MIB, 2), bytes(MIB))
    for number, frame in enumerate(packed_frames):
        for place in (len(frame) // 2, len(frame) - 1):
            wrong = bytearray(frame)
            wrong[place] ^= 0x10
            raw = b"".join([*packed_frames[:number], wrong, *packed_frames[number + 1 :]])
            with pytest.raises(ImageError, match=r"is damaged near byte|something else|cut short"):
                unpack(raw)


def test_a_small_frame_that_never_ends_takes_no_memory() -> None:
    """It says that it holds a byte, and has one block after another."""
    block = (65536 << 3).to_bytes(3, "little") + bytes(65536)
    raw = MAGIC + b"\x20\x01" + block * (20 * MIB // len(block))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="a frame of 1 bytes goes on"):
            unpack(raw)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
