# SPDX-License-Identifier: Apache-2.0
"""Every format is read, or refused with what to do; what is cut short or damaged is noticed."""

from __future__ import annotations

import gzip
import importlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.errors import DiskError, ImageError
from balena_migrate.images import formats as registry
from balena_migrate.images.formats import Format, format_named, formats, magic_bytes, read_chunks, sniff_format
from balena_migrate.images.patched_image import PatchedImage
from balena_migrate.images.patches import Patches
from balena_migrate.images.scan import read_image
from tests.images.formats import Sample
from tests.support.images import make_image

FILES = sorted(path.stem for path in Path(registry.__file__).parent.glob("*.py") if path.stem != "__init__")


def unpack(raw: bytes, chunk_bytes: int = 1000) -> bytes:
    pieces = list(read_chunks(io.BytesIO(raw), format_named("gzip"), chunk_bytes))
    assert all(piece.size_bytes == chunk_bytes for piece in pieces[:-1])
    assert [piece.offset_bytes for piece in pieces] == list(range(0, len(pieces) * chunk_bytes, chunk_bytes))
    return b"".join(piece.data for piece in pieces)


def of_file(name: str) -> tuple[Format, Sample]:
    """The format in this file, and its sample, which has to be in a file of that name."""
    found: Format = importlib.import_module(f"{registry.__name__}.{name}").FORMAT
    sample: Sample = importlib.import_module(f"tests.images.formats.{name}").SAMPLE
    return found, sample


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return bytes(make_image(tmp_path_factory.mktemp("image")))


def test_every_file_of_the_folder_is_a_format_with_a_name_of_its_own() -> None:
    assert len(formats()) == len(FILES) == len({known.name for known in formats()})
    assert [known.name for known in formats() if not known.magics] == ["raw"]


@pytest.mark.processes
@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_read_or_refused_with_what_to_do(name: str, image: bytes, tmp_path: Path) -> None:
    known, sample = of_file(name)
    path = tmp_path / "image"
    path.write_bytes(sample.pack(image))
    if known.pieces is None:
        with pytest.raises(ImageError, match=f"is {known.what}, which is not supported") as caught:
            read_image(path, tmp_path, lambda done, total: None)
        assert caught.value.hint == known.remedy != ""
        return
    found = read_image(path, tmp_path, lambda done, total: None)
    assert (found.format, found.size_bytes, found.file_bytes) == (known.name, len(image), path.stat().st_size)
    boot = slice(found.boot.start_bytes, found.boot.end_bytes)
    assert found.start_file.read_bytes()[boot] == image[boot]


@pytest.mark.processes
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", ["cut", "damage"])
def test_a_file_that_is_cut_short_or_damaged_is_no_image(name: str, spoil: str, image: bytes, tmp_path: Path) -> None:
    _, sample = of_file(name)
    path = tmp_path / "image"
    packed = sample.pack(image)
    spoilt = getattr(sample, spoil)(packed)
    assert spoilt != packed
    path.write_bytes(spoilt)
    with pytest.raises(ImageError):
        read_image(path, tmp_path, lambda done, total: None)


@pytest.mark.processes
@pytest.mark.parametrize("name", [name for name in FILES if of_file(name)[0].pieces is not None])
def test_stage_2_reads_what_stage_1_took(name: str, image: bytes) -> None:
    known, sample = of_file(name)
    goal = PatchedImage(
        io.BytesIO(sample.pack(image)), known, len(image), Patches(size_bytes=len(image), blocks=()), BlockMap()
    )
    assert b"".join(piece.data for piece in goal.pieces(1 << 20)) == image
    assert b"".join(piece.data for piece in goal.pieces(1 << 20)) == image, "and again from the start"


def test_stage_2_refuses_a_format_that_it_does_not_read() -> None:
    with pytest.raises(ImageError, match="unknown here: lha"):
        format_named("lha")
    with pytest.raises(ImageError, match="not supported"):
        next(read_chunks(io.BytesIO(b""), format_named("zip"), 1000))


def test_a_goal_and_its_patches_are_of_one_size() -> None:
    with pytest.raises(DiskError, match="patches are for an image of 7 bytes"):
        PatchedImage(io.BytesIO(b""), format_named("raw"), 8, Patches(size_bytes=7, blocks=()), BlockMap())


@pytest.mark.parametrize(
    ("start", "remedy"),
    [
        (b"PK\x03\x04aaaa", "unzip"),
        (b"PK\x05\x06aaaa", "unzip"),
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
    assert magic_bytes() >= 6
    assert sniff_format(b"\x1f\x8b\x08\x00aaaa") is format_named("gzip")
    assert sniff_format(b"\xfa\xb8\x00\x10") is format_named("raw")
    assert sniff_format(b"") is format_named("raw")


@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=4), st.integers(0, 600), st.integers(1, 3000))
def test_members_one_after_another_and_a_padding_of_zeros(parts: list[bytes], padding: int, chunk_bytes: int) -> None:
    raw = b"".join(gzip.compress(part) for part in parts) + bytes(padding)
    assert unpack(raw, chunk_bytes) == b"".join(parts)


def test_no_piece_of_a_gzip_file_needs_to_be_cut_again() -> None:
    data = gzip.compress(bytes(range(250))) + gzip.compress(bytes(1000))
    pieces = format_named("gzip").pieces
    assert pieces is not None
    assert [piece.end_bytes for piece in pieces(io.BytesIO(data), 100)] == [100, 200, 250, *range(300, 1201, 100), 1250]


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
