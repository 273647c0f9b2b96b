# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.images.patches import Block, Patches, dump_patches, parse_patches
from balena_migrate.images.pieces import piece, zeros

PATCHES = Patches(
    size_bytes=100_000,
    blocks=(
        Block(offset_bytes=0, content=b"boot"),
        Block(offset_bytes=4096, content=b"secret" * 1000),
        Block(offset_bytes=99_999, content=b"!"),
    ),
)


def read(path: Path) -> Patches:
    return parse_patches(path.read_bytes(), str(path))


def test_patches_come_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "patches").write_bytes(dump_patches(PATCHES))
    assert read(tmp_path / "patches") == PATCHES


def test_the_content_is_not_in_repr() -> None:
    assert "secret" not in repr(PATCHES)


@given(st.integers(0, 5000), st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, mask: int) -> None:
    path = tmp_path_factory.mktemp("patches") / "patches"
    path.write_bytes(dump_patches(PATCHES))
    raw = bytearray(path.read_bytes())
    raw[place] ^= mask
    path.write_bytes(raw)
    with pytest.raises(FileError):
        read(path)


@pytest.mark.parametrize("length", [0, 7, 31, 33, 60, 6000])
def test_a_file_that_is_cut_short(tmp_path: Path, length: int) -> None:
    path = tmp_path / "patches"
    path.write_bytes(dump_patches(PATCHES))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FileError, match="not a complete file of patches"):
        read(path)


def test_blocks_may_not_overlap_nor_lead_out_of_the_image() -> None:
    with pytest.raises(ImageError, match="overlap"):
        Patches(size_bytes=99, blocks=(Block(offset_bytes=0, content=b"aa"), Block(offset_bytes=1, content=b"b")))
    with pytest.raises(ImageError, match="crosses the end"):
        Patches(size_bytes=99, blocks=(Block(offset_bytes=98, content=b"aa"),))


def test_a_block_may_lie_behind_the_image_and_is_kept_in_the_file(tmp_path: Path) -> None:
    tail = Block(offset_bytes=500_000, content=b"the copy of a GPT")
    patches = Patches(size_bytes=PATCHES.size_bytes, blocks=(*PATCHES.blocks, tail))
    (tmp_path / "patches").write_bytes(dump_patches(patches))
    assert read(tmp_path / "patches") == patches
    assert list(patches.overlay([zeros(0, patches.size_bytes)]))[-1] == piece(tail.offset_bytes, tail.content)
    assert patches.end_bytes == 500_017
    assert PATCHES.end_bytes == 100_000


def test_the_end_of_no_blocks_is_the_images() -> None:
    assert Patches(size_bytes=99, blocks=()).end_bytes == 99


@given(
    st.binary(min_size=1, max_size=200),
    st.lists(st.tuples(st.integers(0, 30), st.binary(min_size=1, max_size=30)), max_size=5),
    st.integers(1, 64),
)
def test_patches_in_chunks_are_the_patches_in_the_whole(
    image: bytes, gaps: list[tuple[int, bytes]], chunk_bytes: int
) -> None:
    """However the image is cut into chunks, the result is the image with all blocks written into it."""
    expected = bytearray(image)
    blocks: list[Block] = []
    position = 0
    for gap, content in gaps:
        if position + gap + len(content) <= len(image):
            blocks.append(Block(offset_bytes=position + gap, content=content))
            expected[position + gap : position + gap + len(content)] = content
            position += gap + len(content)
    patches = Patches(size_bytes=len(image), blocks=tuple(blocks))
    pieces = [patches.apply(i, image[i : i + chunk_bytes]) for i in range(0, len(image), chunk_bytes)]
    assert b"".join(pieces) == expected
