# SPDX-License-Identifier: Apache-2.0
"""Block maps against bmaptool's: what it makes we read, what we make it takes."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.block_map import Range
from balena_migrate.core.errors import ImageError
from balena_migrate.core.units import KIB, MIB
from balena_migrate.images.bmap import Bmap, CheckedRange, bmap_name, dump_bmap, find_bmap, read_bmap
from balena_migrate.images.pieces import in_chunks, piece

RANGES = (Range(0, 8 * KIB), Range(64 * KIB, 68 * KIB), Range(996 * KIB, MIB + 100))
IMAGE = random.Random(6).randbytes(MIB + 100)


def checked(ranges: tuple[Range, ...] = RANGES, image: bytes = IMAGE) -> list[CheckedRange]:
    return [
        CheckedRange(range=part, checksum=hashlib.sha256(image[part.start_bytes : part.end_bytes]).hexdigest())
        for part in ranges
    ]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "image.bmap"
    path.write_bytes(content)
    return path


def made(folder: Path, image: bytes = IMAGE) -> Bmap:
    return read_bmap(written(folder, dump_bmap(len(image), checked(image=image))))


def compare(bmap: Bmap, image: bytes, chunk_bytes: int = 64 * KIB) -> bytes:
    return b"".join(part.data for part in bmap.checked(in_chunks([piece(0, image)], chunk_bytes)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    bmap = made(tmp_path)
    assert (bmap.size_bytes, bmap.algorithm, bmap.name) == (len(IMAGE), "sha256", "image.bmap")
    assert list(bmap.ranges) == checked()


@pytest.mark.parametrize("chunk_bytes", [512, 4096, 10_000, MIB, 4 * MIB])
def test_an_image_that_the_map_describes_passes_unchanged(tmp_path: Path, chunk_bytes: int) -> None:
    assert compare(made(tmp_path), IMAGE, chunk_bytes) == IMAGE


@pytest.mark.parametrize("place", [0, 8 * KIB - 1, 64 * KIB, MIB + 99])
def test_a_byte_that_differs_is_found_with_its_range(tmp_path: Path, place: int) -> None:
    image = bytearray(IMAGE)
    image[place] ^= 1
    inside = next(part for part in RANGES if part.start_bytes <= place < part.end_bytes)
    with pytest.raises(ImageError, match=f"differs from byte {inside.start_bytes} to {inside.end_bytes}"):
        compare(made(tmp_path), bytes(image))


def test_what_the_map_leaves_out_may_be_anything(tmp_path: Path) -> None:
    image = bytearray(IMAGE)
    image[8 * KIB : 64 * KIB] = bytes(56 * KIB)
    assert compare(made(tmp_path), bytes(image)) == image


@pytest.mark.parametrize("size", [0, 5, len(IMAGE) - 1, len(IMAGE) + 1])
def test_an_image_of_another_size(tmp_path: Path, size: int) -> None:
    bmap = made(tmp_path)
    with pytest.raises(ImageError, match=r"bytes"):
        compare(bmap, (IMAGE + b"more")[:size])


# bmaptool ---------------------------------------------------------------------------------------------------------

needs_bmaptool = pytest.mark.skipif(shutil.which("bmaptool") is None, reason="needs bmaptool")


def sparse(folder: Path) -> Path:
    path = folder / "image"
    with path.open("wb") as file:
        file.truncate(len(IMAGE))
        for part in RANGES:
            os.pwrite(file.fileno(), IMAGE[part.start_bytes : part.end_bytes], part.start_bytes)
    return path


@pytest.mark.processes
@needs_bmaptool
def test_bmaptool_takes_our_map(tmp_path: Path) -> None:
    image, target = sparse(tmp_path), tmp_path / "disk"
    bmap = written(tmp_path, dump_bmap(len(IMAGE), checked()))
    target.write_bytes(b"\xa5" * len(IMAGE))
    argv = ["bmaptool", "-q", "copy", "--bmap", str(bmap), str(image), str(target)]
    subprocess.run(argv, check=True, capture_output=True)
    for part in RANGES:
        found = target.read_bytes()[part.start_bytes : part.end_bytes]
        assert found == IMAGE[part.start_bytes : part.end_bytes]
    wrong = checked(image=IMAGE[:-1] + b"?")
    bmap.write_bytes(dump_bmap(len(IMAGE), wrong))
    assert subprocess.run(argv, check=False, capture_output=True).returncode != 0, "it compares"


@pytest.mark.processes
@needs_bmaptool
def test_we_take_bmaptools_map(tmp_path: Path) -> None:
    image = sparse(tmp_path)
    subprocess.run(["bmaptool", "-q", "create", "-o", tmp_path / "image.bmap", image], check=True)
    bmap = read_bmap(tmp_path / "image.bmap")
    assert compare(bmap, image.read_bytes()) == image.read_bytes()
    assert sum(part.range.size_bytes for part in bmap.ranges) < MIB
    with pytest.raises(ImageError, match="differs"):
        compare(bmap, bytes(len(IMAGE)))


# Maps that cannot be used -----------------------------------------------------------------------------------------

OLD = (
    b'<?xml version="1.0" ?>\n<bmap version="1.3"><ImageSize> 8192 </ImageSize><BlockSize> 4096 </BlockSize>'
    b"<BmapFileSHA1> %s </BmapFileSHA1><BlockMap><Range sha1='%s'> 0-1 </Range></BlockMap></bmap>"
)


def test_a_map_of_version_1_3(tmp_path: Path) -> None:
    of_image = hashlib.sha1(IMAGE[:8192], usedforsecurity=False).hexdigest().encode()
    of_file = hashlib.sha1(OLD % (b"0" * 40, of_image), usedforsecurity=False).hexdigest().encode()
    bmap = read_bmap(written(tmp_path, OLD % (of_file, of_image)))
    assert bmap.algorithm == "sha1"
    assert compare(bmap, IMAGE[:8192]) == IMAGE[:8192]


GOOD = dump_bmap(len(IMAGE), checked())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no element found"),
        (b"-----BEGIN PGP SIGNED MESSAGE-----", "syntax error"),
        (b"<html/>", "version is unknown"),
        (GOOD.replace(b'version="2.0"', b'version="3.0"'), "version is 3.0"),
        (GOOD.replace(b">sha256<", b">crc32<"), "crc32, which is unknown"),
        (GOOD.replace(b"<BlockSize>4096", b"<BlockSize>8192"), "own checksum is wrong"),
        (GOOD.replace(b"ImageSize", b"imagesize"), "own checksum is wrong"),
        (b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + GOOD, "document type"),
        (GOOD + b" " * (17 * MIB), "more than"),
    ],
    ids=range(9),
)
def test_a_map_that_cannot_be_used_is_named_and_not_passed_over(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_bmap(written(tmp_path, content))
    assert "image.bmap" in caught.value.message
    assert "remove it" in (caught.value.hint or "")


@pytest.mark.parametrize("text", [b"5-3", b"-4", b"a", b"", b"300", b"0-1-2"])
def test_a_map_with_an_impossible_range(tmp_path: Path, text: bytes) -> None:
    blank = b"0" * 64
    content = GOOD.replace(b">16<", b">" + text + b"<")
    own = content.split(b"<BmapFileChecksum>")[1][:64]
    content = content.replace(own, hashlib.sha256(content.replace(own, blank)).hexdigest().encode())
    with pytest.raises(ImageError, match="cannot be used"):
        read_bmap(written(tmp_path, content))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_damaged_map_is_an_error_or_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    content = bytearray(GOOD)
    content[place] = byte
    try:
        found = read_bmap(written(tmp_path_factory.mktemp("bmap"), bytes(content)))
    except ImageError:
        return
    assert list(found.ranges) == checked()


# Where it lies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["os.img.gz.bmap", "os.img.bmap", "os.bmap"])
def test_the_map_beside_an_image(tmp_path: Path, name: str) -> None:
    assert find_bmap(tmp_path / "os.img.gz") is None
    (tmp_path / name).write_bytes(GOOD)
    assert find_bmap(tmp_path / "os.img.gz") == tmp_path / name
    assert find_bmap(tmp_path / "other.img.gz") is None
    assert bmap_name("os.img.gz") == "os.img.gz.bmap"
