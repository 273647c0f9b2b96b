# SPDX-License-Identifier: Apache-2.0
"""Every format is read, or refused with what to do; what is cut short or damaged is noticed.

What is here holds for each format of the registry: one that is added is held to it too.
"""

from __future__ import annotations

import functools
import io
import random
import subprocess
import sys
from collections.abc import Callable
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
from tests.images.formats import FILES, PACKED, READABLE, flip, of_file
from tests.support.images import make_image

CHUNK_BYTES = 1000


def small_image(size: int = 3000, seed: int = 1) -> bytes:
    """Bytes that begin as a disk does, and are packed to about two thirds."""
    content = bytearray(random.Random(seed).choices(range(40), k=size))
    content[510:512] = b"\x55\xaa"
    return bytes(content)


SMALL = small_image()


def unpack(packed: bytes, known: Format, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """What the file holds; each piece is as large as it may be, and no more of the file is left."""
    source = io.BytesIO(packed)
    pieces = list(read_chunks(source, known, chunk_bytes))
    assert source.read() == b"", "all of it was read"
    assert all(piece.size_bytes == chunk_bytes for piece in pieces[:-1])
    assert [piece.offset_bytes for piece in pieces] == list(range(0, len(pieces) * chunk_bytes, chunk_bytes))
    return b"".join(piece.data for piece in pieces)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return bytes(make_image(tmp_path_factory.mktemp("image")))


@functools.lru_cache(maxsize=len(FILES))
def packed(name: str, image: bytes) -> bytes:
    return of_file(name)[1].pack(image)


def test_every_file_of_the_folder_is_a_format_with_a_name_of_its_own() -> None:
    assert len(formats()) == len(FILES) == len({known.name for known in formats()})
    assert [known.name for known in formats() if not known.magics] == ["raw"]
    assert len(PACKED) == 5


@pytest.mark.processes
@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_read_or_refused_with_what_to_do(name: str, image: bytes, tmp_path: Path) -> None:
    known, _ = of_file(name)
    path = tmp_path / "image"
    path.write_bytes(packed(name, image))
    if known.pieces is None:
        with pytest.raises(ImageError, match=f"is {known.what}, which is not supported") as caught:
            read_image(path, tmp_path, lambda done, total: None)
        assert f"{known.unpack} FILE | zstd" in caught.value.hint
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
    spoilt = getattr(sample, spoil)(packed(name, image))
    assert spoilt != packed(name, image)
    path.write_bytes(spoilt)
    with pytest.raises(ImageError):
        read_image(path, tmp_path, lambda done, total: None)


@pytest.mark.processes
@pytest.mark.parametrize("name", READABLE)
def test_stage_2_reads_what_stage_1_took(name: str, image: bytes) -> None:
    known, _ = of_file(name)
    goal = PatchedImage(
        io.BytesIO(packed(name, image)), known, len(image), Patches(size_bytes=len(image), blocks=()), BlockMap()
    )
    assert b"".join(piece.data for piece in goal.pieces(1 << 20)) == image
    assert b"".join(piece.data for piece in goal.pieces(1 << 20)) == image, "and again from the start"


@pytest.mark.processes
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "command"), [(name, command) for name in PACKED for command in of_file(name)[1].commands]
)
def test_what_the_formats_own_tool_packs_is_read(name: str, command: str, tmp_path: Path) -> None:
    content = small_image(300_000) + bytes(1_500_000) + small_image(200_001, 2)
    (tmp_path / "image").write_bytes(content)
    packed = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True).stdout
    assert len(packed) > 1000
    assert sniff_format(packed[: magic_bytes()]).name == name
    assert unpack(packed, of_file(name)[0], 1 << 20) == content


def test_stage_2_refuses_a_format_that_it_does_not_read() -> None:
    with pytest.raises(ImageError, match="unknown here: lha"):
        format_named("lha")
    with pytest.raises(ImageError, match="not supported"):
        next(read_chunks(io.BytesIO(b""), format_named("7-zip"), 1000))


def test_a_goal_and_its_patches_are_of_one_size() -> None:
    with pytest.raises(DiskError, match="patches are for an image of 7 bytes"):
        PatchedImage(io.BytesIO(b""), format_named("raw"), 8, Patches(size_bytes=7, blocks=()), BlockMap())


@pytest.mark.parametrize("name", FILES)
def test_a_format_is_known_by_its_content(name: str) -> None:
    known, sample = of_file(name)
    start = sample.pack(SMALL)[: magic_bytes()]
    assert known in (registry.find_packing(start), format_named("raw"))
    assert magic_bytes() >= 6


def test_all_else_is_raw() -> None:
    assert sniff_format(b"\xfa\xb8\x00\x10") is format_named("raw")
    assert sniff_format(b"") is format_named("raw")


# Whatever happens to a file ------------------------------------------------------------------------------------------


def cut(data: st.DataObject, packed: bytes) -> bytes:
    return packed[: data.draw(st.integers(0, len(packed) - 1))]


def flipped(data: st.DataObject, packed: bytes) -> bytes:
    for _ in range(data.draw(st.integers(1, 3))):
        packed = flip(packed, data.draw(st.integers(0, len(packed) - 1)))
    return packed


def appended(data: st.DataObject, packed: bytes) -> bytes:
    """Anything but another whole file, which some formats take for more of the image."""
    return packed + data.draw(st.binary(min_size=1, max_size=40) | st.just(packed[:-1]) | st.just(bytes(4096)))


def spliced(data: st.DataObject, packed: bytes) -> bytes:
    """A stretch of it a second time, in another place or over what is there."""
    start, place = data.draw(st.integers(0, len(packed) - 1)), data.draw(st.integers(0, len(packed)))
    part = packed[start : start + data.draw(st.integers(1, len(packed) // 2))]
    return packed[:place] + part + packed[place + data.draw(st.sampled_from([0, len(part)])) :]


def overwritten(data: st.DataObject, packed: bytes) -> bytes:
    """A number of four bytes becomes a very large or a small one: sizes that lie."""
    place = data.draw(st.integers(0, len(packed) - 4))
    return packed[:place] + data.draw(st.sampled_from([bytes(4), b"\xff" * 4, b"\1\0\0\0"])) + packed[place + 4 :]


@pytest.mark.parametrize("name", [name for name in PACKED if of_file(name)[1].has_checksum])
@pytest.mark.parametrize("spoil", [cut, flipped, appended, spliced, overwritten])
@given(data=st.data())
def test_a_file_that_is_not_as_it_was_gives_the_same_content_or_an_error(
    name: str, spoil: Callable[[st.DataObject, bytes], bytes], data: st.DataObject
) -> None:
    known, sample = of_file(name)
    spoilt = spoil(data, sample.pack(SMALL))
    try:
        found = unpack(spoilt, known)
    except ImageError as error:
        assert error.message
    else:
        assert found in (SMALL, b"") if not spoilt else found == SMALL


@pytest.mark.parametrize("name", PACKED)
@given(data=st.data())
def test_what_is_cut_short_or_followed_by_something_else_is_refused(name: str, data: st.DataObject) -> None:
    known, sample = of_file(name)
    packed = sample.pack(SMALL).rstrip(b"\0") if name == "zip" else sample.pack(SMALL)
    assert unpack(sample.pack(SMALL), known) == SMALL
    with pytest.raises(ImageError, match=r"is cut short|is damaged"):
        unpack(packed[: data.draw(st.integers(5, len(packed) * 9 // 10))], known)
    with pytest.raises(ImageError, match=r"something else.*byte \d+|is damaged near byte \d+|is cut short"):
        unpack(sample.pack(SMALL) + b"x" + data.draw(st.binary(max_size=600)), known)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("inner", PACKED)
def test_an_image_that_is_packed_twice_is_refused(name: str, inner: str) -> None:
    known, sample = of_file(name)
    packed = of_file(inner)[1].pack(SMALL)
    with pytest.raises(ImageError, match=of_file(inner)[0].what) as caught:
        unpack(sample.pack(packed), known)
    assert caught.value.hint


@pytest.mark.parametrize("name", PACKED)
def test_nothing_at_all_is_no_image(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    for content in (of_file(name)[0].magics[0], of_file(name)[1].pack(b"")):
        path.write_bytes(content)
        with pytest.raises(ImageError):
            read_image(path, tmp_path, lambda done, total: None)


@pytest.mark.parametrize("name", PACKED)
def test_more_than_any_image_has_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few MiB hold more zeros than a disk has, and reading them takes hours."""
    known, sample = of_file(name)
    monkeypatch.setattr(registry, "UNPACKED_LIMIT_BYTES", len(SMALL))
    assert unpack(sample.pack(SMALL), known) == SMALL
    with pytest.raises(ImageError, match="is larger than"):
        unpack(sample.pack(SMALL + b"x"), known)


MEASURE = """
import resource, sys
from balena_migrate.images.formats import magic_bytes, read_chunks, sniff_format
with open(sys.argv[1], "rb", buffering=0) as file:
    known = sniff_format(file.read(magic_bytes()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file.seek(0)
    size = sum(chunk.size_bytes for chunk in read_chunks(file, known, 1 << 20))
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""


@pytest.mark.processes
@pytest.mark.long
@pytest.mark.parametrize("name", READABLE)
def test_zeros_without_end_stay_within_the_memory_that_the_format_names(name: str, tmp_path: Path) -> None:
    known, sample = of_file(name)
    content = small_image() + bytes(100 << 20)
    packed = sample.pack(content)
    (tmp_path / "image").write_bytes(packed)
    argv = [sys.executable, "-c", MEASURE, str(tmp_path / "image")]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    size, grown_bytes = map(int, done.stdout.split())
    assert size == len(content)
    assert grown_bytes < known.memory_bytes(packed[: registry.START_BYTES]) + (8 << 20)
