# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import gzip
import random
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError, ImageError
from balena_migrate.core.units import MIB
from balena_migrate.images import passes
from balena_migrate.images.passes import opened
from tests.images.formats import READABLE, of_file

CONTENT = bytes(510) + b"\x55\xaa" + random.Random(1).randbytes(3 * MIB + 12345)


def ignored(done: int, total: int) -> None:
    """No report."""


@functools.cache
def packed_content(name: str) -> bytes:
    return of_file(name)[1].pack(CONTENT)


@pytest.fixture(params=READABLE)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(packed_content(request.param))
    return path


def test_any_part_in_any_order(file: Path) -> None:
    with opened(file, len(CONTENT), ignored) as image:
        for start, length in ((0, 10), (MIB - 3, 7), (2 * MIB, MIB), (500, 20), (3 * MIB, 5), (17, 3 * MIB)):
            assert image.read(start, length) == CONTENT[start : start + length]


def test_parts_follow_each_other_and_are_small(file: Path) -> None:
    with opened(file, len(CONTENT), ignored) as image:
        parts = list(image.parts(100, 3 * MIB))
    assert [part.offset_bytes for part in parts] == [100, *(part.end_bytes for part in parts[:-1])]
    assert b"".join(part.data for part in parts) == CONTENT[100 : 3 * MIB]
    assert max(part.size_bytes for part in parts) <= MIB


def test_less_at_the_end_and_nothing_behind_it(file: Path) -> None:
    with opened(file, len(CONTENT), ignored) as image:
        assert image.read(len(CONTENT) - 5, 100) == CONTENT[-5:]
        assert image.read(len(CONTENT) + 5, 100) == b""
        assert image.read(0, 4) == CONTENT[:4], "it can still go back"


def test_going_back_in_a_packed_file_is_limited(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(gzip.compress(CONTENT, 1))
    with (
        pytest.raises(ImageError, match=r"image: would have to be unpacked too often"),
        opened(tmp_path / "image", len(CONTENT), ignored) as image,
    ):
        b"".join(image.read(place, 1) for _ in range(passes.PASSES_LIMIT + 1) for place in (2 * MIB, 0))


def test_going_back_in_a_raw_file_reads_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(CONTENT)
    reports: list[int] = []
    with opened(tmp_path / "image", len(CONTENT), lambda done, total: reports.append(done)) as image:
        for _ in range(passes.PASSES_LIMIT + 1):
            image.read(3 * MIB, 1)
            image.read(0, 1)
    assert len(reports) == 2 * (passes.PASSES_LIMIT + 1), "one piece for each"


def test_the_report_counts_what_is_unpacked_and_begins_again_with_each_pass(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(gzip.compress(CONTENT, 1))
    reports: list[tuple[int, int]] = []
    with opened(tmp_path / "image", len(CONTENT), lambda *done: reports.append(done)) as image:
        image.read(3 * MIB, 1)
        image.read(0, 1)
    assert [done for done, _ in reports] == [MIB, 2 * MIB, 3 * MIB, len(CONTENT), MIB]
    assert {total for _, total in reports} == {len(CONTENT)}


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT, 1)
    (tmp_path / "image").write_bytes(packed[: len(packed) // 2])
    with (
        pytest.raises(ImageError, match=r"/image: is cut short"),
        opened(tmp_path / "image", len(CONTENT), ignored) as image,
    ):
        image.read(3 * MIB, 1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"), opened(tmp_path / "image", len(CONTENT), ignored):
        pass
