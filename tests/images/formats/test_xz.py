# SPDX-License-Identifier: Apache-2.0
"""xz: how much memory it needs, and what may follow a stream."""

from __future__ import annotations

import io
import lzma
import subprocess
import zlib
from pathlib import Path

import pytest

from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images.formats import START_BYTES, format_named, read_chunks
from balena_migrate.images.formats.xz import LIMIT_BYTES

XZ = format_named("xz")


def unpack(raw: bytes) -> bytes:
    return b"".join(piece.data for piece in read_chunks(io.BytesIO(raw), XZ, MIB))


def with_dictionary(exponent_and_mantissa: int) -> bytes:
    """A file whose first block names another dictionary; block header: size, flags, filter, size, dictionary, CRC."""
    raw = bytearray(lzma.compress(b"image" * 1000, preset=0))
    header = raw[12:20]
    assert header[:4] == b"\x02\x00\x21\x01"
    header[4] = exponent_and_mantissa
    raw[12:24] = header + zlib.crc32(header).to_bytes(4, "little")
    return bytes(raw)


@pytest.mark.processes
@pytest.mark.parametrize("options", ["-0", "-3", "-6", "-9", "-2 -T2 --block-size=1MiB", "-1 --x86 --lzma2=dict=24MiB"])
def test_the_memory_is_what_xz_itself_says(options: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    raw = subprocess.run(["xz", "-c", *options.split()], input=content, check=True, capture_output=True).stdout
    (tmp_path / "image.xz").write_bytes(raw)
    listed = subprocess.run(
        ["xz", "--robot", "-lvv", tmp_path / "image.xz"], check=True, capture_output=True, text=True
    )
    needed = int(next(line for line in listed.stdout.splitlines() if line.startswith("summary")).split()[1])
    assert needed <= XZ.memory_bytes(raw[:START_BYTES]) <= needed + 2 * MIB
    assert unpack(raw) == content


@pytest.mark.parametrize("start", [b"", b"\xfd7zXZ\x00", with_dictionary(28)[:16], bytes(START_BYTES)])
def test_where_the_dictionary_is_not_to_be_seen_it_may_be_the_largest(start: bytes) -> None:
    assert XZ.memory_bytes(start) == LIMIT_BYTES


def test_a_dictionary_of_64_mib_is_unpacked_and_a_larger_one_refused() -> None:
    assert unpack(with_dictionary(28)) == b"image" * 1000
    with pytest.raises(ImageError, match=r"needs more than 66 MiB of memory.*xz -9 or less"):
        unpack(with_dictionary(29))


def test_a_later_stream_is_held_to_the_same_limit() -> None:
    with pytest.raises(ImageError, match="needs more than 66 MiB"):
        unpack(with_dictionary(12) + with_dictionary(40))


def test_zeros_between_streams_are_in_multiples_of_four() -> None:
    stream = lzma.compress(b"image")
    assert unpack(stream + bytes(8) + stream + bytes(4)) == b"imageimage"
    for padded in (stream + bytes(3), stream + bytes(5) + stream):
        with pytest.raises(ImageError, match="something else"):
            unpack(padded)
