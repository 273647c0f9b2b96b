# SPDX-License-Identifier: Apache-2.0
"""Pieces keep their places, whatever cuts and joins them; gaps stay gaps, and patches go into them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.block_map import Range
from balena_migrate.images.patches import Block, Patches
from balena_migrate.images.pieces import Piece, in_chunks, only, piece, zeros

SIZE = 400


def layout(pieces: Iterable[Piece]) -> dict[int, int]:
    """Offset -> byte of all that the pieces say."""
    return {whole.offset_bytes + index: byte for whole in pieces for index, byte in enumerate(whole.data)}


@st.composite
def images(draw: st.DrawFn) -> tuple[Piece, ...]:
    """Pieces and gaps, in order."""
    found, offset = [], 0
    for kind in draw(st.lists(st.sampled_from(["content", "zeros", "gap"]), max_size=12)):
        size = draw(st.integers(1, 40))
        if kind != "gap":
            content = bytes([draw(st.integers(1, 255))]) * size
            found.append(piece(offset, content) if kind == "content" else zeros(offset, size))
        offset += size
    return tuple(found)


@given(images(), st.integers(1, 50))
def test_chunks_say_the_same_and_end_where_they_have_to(pieces: tuple[Piece, ...], chunk_bytes: int) -> None:
    chunks = list(in_chunks(pieces, chunk_bytes))
    assert layout(chunks) == layout(pieces)
    covered = layout(pieces)
    for chunk in chunks:
        assert 0 < chunk.size_bytes <= chunk_bytes
        assert chunk.offset_bytes // chunk_bytes == (chunk.end_bytes - 1) // chunk_bytes
        assert chunk.end_bytes % chunk_bytes == 0 or chunk.end_bytes not in covered
    assert [chunk.offset_bytes for chunk in chunks] == sorted(chunk.offset_bytes for chunk in chunks)


def test_chunks_of_zeros_are_known_as_such() -> None:
    assert list(in_chunks([zeros(0, 25)], 10)) == [zeros(0, 10), zeros(10, 10), piece(20, bytes(5))]


def test_an_image_that_ends_in_a_gap_says_where() -> None:
    assert list(in_chunks([piece(0, b"abc"), zeros(37, 0)], 10)) == [piece(0, b"abc"), zeros(37, 0)]


@given(images(), st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), max_size=6))
def test_patches_go_into_pieces_into_gaps_and_behind_the_image(
    pieces: tuple[Piece, ...], places: list[tuple[int, int]]
) -> None:
    blocks, offset = [], 0
    for skip, size in places:
        blocks.append(Block(offset_bytes=offset + skip, content=b"P" * size))
        offset += skip + size
    patches = Patches(size_bytes=1000, blocks=tuple(blocks))
    patched = list(patches.overlay(pieces))
    assert layout(patched) == layout(pieces) | layout(piece(block.offset_bytes, block.content) for block in blocks)
    ends = [0, *(whole.end_bytes for whole in patched)]
    assert all(whole.offset_bytes >= end for whole, end in zip(patched, ends, strict=False)), "none overlaps another"


def test_zeros_without_a_patch_stay_zeros() -> None:
    patches = Patches(size_bytes=30, blocks=(Block(offset_bytes=12, content=b"x"),))
    assert list(patches.overlay([zeros(0, 10), zeros(10, 10), zeros(20, 10)])) == [
        zeros(0, 10),
        piece(10, b"\0\0x" + bytes(7)),
        zeros(20, 10),
    ]


def test_the_content_is_not_in_repr() -> None:
    assert "secret" not in repr(piece(0, b"secret"))


@given(images(), st.lists(st.tuples(st.integers(0, 20), st.integers(1, 60)), max_size=8))
def test_what_is_not_used_becomes_gaps(pieces: tuple[Piece, ...], places: list[tuple[int, int]]) -> None:
    used, offset = [], 0
    for skip, size in places:
        used.append(Range(offset + skip, offset + skip + size))
        offset += skip + size
    left = list(only(pieces, used))
    wanted = {n for part in used for n in range(part.start_bytes, part.end_bytes)}
    assert layout(left) == {place: byte for place, byte in layout(pieces).items() if place in wanted}
    assert [part.offset_bytes for part in left] == sorted(part.offset_bytes for part in left)
    assert max((part.end_bytes for part in left), default=0) == max((part.end_bytes for part in pieces), default=0)
