# SPDX-License-Identifier: Apache-2.0
"""The engine on goals of many pieces with gaps of any size, compared with bytes that were put together here."""

from __future__ import annotations

import contextlib
import errno
import itertools
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balena_migrate.core.units import KIB, MIB
from balena_migrate.images.pieces import Piece, in_chunks, piece, zeros
from balena_migrate.stage2 import window
from balena_migrate.stage2.aligned import is_aligned
from balena_migrate.stage2.commit import FirstMibLast
from balena_migrate.stage2.flash import FlashProgress, FlashResult, write_image
from balena_migrate.stage2.readback import PART_BYTES, Witnesses
from balena_migrate.stage2.window import WINDOW_BYTES, Run, Window, windows
from tests.support.flash import FakeDisk, Pieces, spoilt

pytestmark = pytest.mark.long

DISK_BYTES = 6 * MIB
Places = list[tuple[int, int]]
"""Offset and size of each piece."""
SIZES = st.one_of(
    st.integers(1, 3000),
    st.sampled_from([512, 4096, 4096 + 512, 64 * KIB, MIB - 4096, MIB, MIB + 1]),
    st.integers(1, 30).map(lambda count: count * 4096),
)
GAPS = st.one_of(st.just(0), SIZES)


@st.composite
def goals(draw: st.DrawFn) -> Places:
    """Places in order, neighbours among them, on a disk of DISK_BYTES."""
    found, end = Places(), 0
    for gap, size in draw(st.lists(st.tuples(GAPS, SIZES), min_size=1, max_size=30)):
        if end + gap + size > DISK_BYTES:
            break
        found.append((end + gap, size))
        end += gap + size
    return found


def pieces_at(places: Places) -> list[Piece]:
    """A piece at each place, no two alike; each fifth is zeros."""
    contents = ((b"%07d\n" % number) * (size // 8 + 1) for number, (_, size) in enumerate(places))
    return [
        zeros(offset, size) if number % 5 == 4 else piece(offset, content[:size])
        for number, ((offset, size), content) in enumerate(zip(places, contents, strict=True))
    ]


OLD = bytes(range(1, 256)) * (DISK_BYTES // 255) + bytes(DISK_BYTES % 255)


def expected(pieces: list[Piece]) -> bytes:
    """The old disk, its first MiB empty, with each piece at its place."""
    disk = bytearray(OLD)
    disk[:MIB] = bytes(MIB)
    for part in pieces:
        for place in (part.offset_bytes, part.end_bytes - 1):
            assert 0 <= place < DISK_BYTES
        disk[part.offset_bytes : part.offset_bytes + part.size_bytes] = part.content or bytes(part.size_bytes)
    return bytes(disk)


def flash(pieces: list[Piece], spots: frozenset[int] = frozenset()) -> tuple[bytes, FlashResult, FlashProgress]:
    """What is on the disk then, on which each of the spots is written right only from the second time on."""
    left = set(spots)

    def fault(kind: str, offset: int, data: bytes) -> bytes:
        hit = {spot for spot in left if kind == "write" and offset and offset <= spot < offset + len(data)}
        left.difference_update(hit)
        for spot in hit:
            data = spoilt(data, offset, spot)
        return data

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "disk")
        path.write_bytes(OLD)
        reports: list[FlashProgress] = []
        with contextlib.closing(FakeDisk(path, fault if spots else None)) as disk:
            result = write_image(Pieces(pieces), disk, FirstMibLast(), reports.append, lambda text: None)
        return path.read_bytes(), result, reports[-1]


@settings(deadline=None, max_examples=60)
@given(goals())
def test_each_piece_is_at_its_place_and_each_gap_is_as_it_was(places: Places) -> None:
    pieces = pieces_at(places)
    found, result, progress = flash(pieces)
    assert found == expected(pieces)
    total = sum(piece.size_bytes for piece in pieces)
    assert result.written_bytes == total
    assert progress == FlashProgress(written_bytes=total, verified_bytes=total, total_bytes=total)


@settings(deadline=None, max_examples=40)
@given(goals(), st.frozensets(st.integers(MIB, DISK_BYTES - 1), min_size=1, max_size=4))
def test_a_lost_byte_is_found_wherever_it_is(places: Places, spots: frozenset[int]) -> None:
    """Each spot that is in a piece is written again, and one in a gap is not touched."""
    pieces = pieces_at(places)
    inside = [spot for spot in spots for part in pieces if part.offset_bytes <= spot < part.end_bytes]
    found, result, _ = flash(pieces, spots)
    assert found == expected(pieces)
    assert bool(result.rewritten_runs) == bool(inside)


@settings(deadline=None, max_examples=60)
@given(goals())
def test_windows_hold_the_pieces_and_neighbours_are_one_run(places: Places) -> None:
    """A run ends only before a gap or with its window; O_DIRECT takes each from where it begins in memory."""
    pieces, free = pieces_at(places), list[Window]()
    found = bytearray(len(OLD))
    runs: list[tuple[int, int, int]] = []
    """Window, begin and end."""
    for number, filled in enumerate(windows(in_chunks(pieces, MIB), free)):
        assert filled.size_bytes <= WINDOW_BYTES
        for run in filled.runs:
            found[run.offset_bytes : run.end_bytes] = run.view
            assert len(run.view) < 4096 or is_aligned(run.view[:4096])
            runs.append((number, run.offset_bytes, run.end_bytes))
        free.append(filled)
    for part in pieces:
        assert found[part.offset_bytes : part.end_bytes] == (part.content or bytes(part.size_bytes))
    for (window_before, _, end), (window_after, start, _) in itertools.pairwise(runs):
        assert start > end or (start == end and window_after == window_before + 1)


def test_a_thousand_neighbours_are_one_write(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(OLD)
    pieces = [piece(2 * MIB + number * 4096, b"%4096d" % number) for number in range(512)]
    with contextlib.closing(FakeDisk(path)) as disk:
        write_image(Pieces(pieces), disk, FirstMibLast(), lambda progress: None, lambda text: None)
    assert next(entry for entry in disk.log if entry[0] == "write" and entry[1]) == ("write", 2 * MIB, 2 * MIB)
    assert path.read_bytes() == expected(pieces)


def test_windows_are_used_again() -> None:
    """One is enough where each is free before the next is filled."""
    free: list[Window] = []
    with mock.patch.object(window, "Window", side_effect=Window) as made:
        for filled in windows(in_chunks([zeros(0, 64 * MIB)], MIB), free):
            free.append(filled)
    assert made.call_count == 1


@settings(deadline=None, max_examples=60)
@given(goals())
def test_each_piece_that_stands_alone_has_a_witness_and_close_ones_have_one_together(places: Places) -> None:
    """Spoil all of one such piece, or all that is within a MiB, and the last look sees it."""
    parts = list(in_chunks(pieces_at(places), MIB))
    ends = [-MIB, *(part.end_bytes for part in parts)]
    starts = [*(part.offset_bytes for part in parts[1:]), DISK_BYTES + MIB]
    alone = [
        part
        for part, before, after in zip(parts, ends, starts, strict=False)
        if part.offset_bytes - before > 64 * KIB and after - part.end_bytes > 64 * KIB
    ]
    stretches = [(part.offset_bytes, part.end_bytes) for part in (*alone[:3], *alone[-3:])]
    stretches += [
        (place - place % MIB, place - place % MIB + MIB) for place in (part.offset_bytes for part in parts[::9])
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "disk")
        right = bytearray(OLD)
        for part in parts:
            right[part.offset_bytes : part.end_bytes] = part.data
        path.write_bytes(right)
        witnesses = Witnesses()
        witnesses.add(Run(part.offset_bytes, memoryview(bytearray(part.data))) for part in parts)
        with contextlib.closing(FakeDisk(path)) as disk:
            assert witnesses.find_wrong(disk) == []
            for start, end in stretches:
                path.write_bytes(right[:start] + b"\xa5" * (end - start) + right[end:])
                wrong = witnesses.find_wrong(disk)
                assert wrong
                assert all(start <= place < end for place in wrong)


def test_the_witness_of_close_pieces_is_in_the_largest(tmp_path: Path) -> None:
    """Most of what could be lost there is in it."""
    path = tmp_path / "disk"
    path.write_bytes(OLD)
    parts = [(2 * MIB, 4096), (2 * MIB + 8192, 400_000), (2 * MIB + 450_000, 5000)]
    witnesses = Witnesses()
    witnesses.add(Run(offset, memoryview(bytearray(OLD[offset : offset + size]))) for offset, size in parts)
    path.write_bytes(OLD[: 2 * MIB + 8192] + bytes(400_000) + OLD[2 * MIB + 408_192 :])
    with contextlib.closing(FakeDisk(path)) as disk:
        (wrong,) = witnesses.find_wrong(disk)
    assert parts[1][0] <= wrong < sum(parts[1])


@pytest.mark.parametrize("kind", ["write", "read"])
def test_small_gaps_are_read_with_their_neighbours(tmp_path: Path, kind: str) -> None:
    """And what is wrong, or cannot be read, is still found by its own place."""
    path = tmp_path / "disk"
    path.write_bytes(OLD)
    pieces = [piece(2 * MIB + number * 8192, b"%4096d" % number) for number in range(512)]
    lost, said = [3 * MIB], list[str]()

    def fault(here: str, offset: int, data: bytes) -> bytes:
        if here == kind == "read" and offset <= 3 * MIB < offset + len(data) and lost:
            if len(data) == 4096:
                lost.clear()
            raise OSError(errno.EIO, "Input/output error")
        return b"x" * len(data) if here == kind == "write" and offset in lost and lost.pop() else data

    with contextlib.closing(FakeDisk(path, fault)) as disk:
        result = write_image(Pieces(pieces), disk, FirstMibLast(), lambda progress: None, said.append)
    assert path.read_bytes() == expected(pieces)
    assert result.rewritten_runs == 1
    assert f"bytes {3 * MIB} to {3 * MIB + 4096} {'cannot be read' if kind == 'read' else 'read back wrong'}" in said[0]
    whole = [entry for entry in disk.log if entry[0] == "read" and entry[2] > 512 * KIB and entry[1]]
    assert len(whole) == 5, "one each MiB, and the first one's end"


@given(st.integers(0, 3 * MIB), st.integers(1, 2 * MIB), st.sampled_from(PART_BYTES))
def test_parts_of_a_run_are_all_of_it_and_end_at_multiples(offset: int, size: int, part_bytes: int) -> None:
    whole = Run(offset, memoryview(bytes(range(251)) * (size // 251 + 1))[:size])
    parts = list(whole.parts(part_bytes))
    assert b"".join(part.view for part in parts) == whole.view
    assert parts[0].offset_bytes == offset
    for before, after in itertools.pairwise(parts):
        assert before.end_bytes == after.offset_bytes
        assert after.offset_bytes % part_bytes == 0
        assert len(before.view) <= part_bytes
