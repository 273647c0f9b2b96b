# SPDX-License-Identifier: Apache-2.0
"""Recorded writes: QEMU's log is read as it was written, and no state of a disk is left out."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.recording import (
    DISCARD,
    EXHAUSTIVE_SECTORS,
    FLUSH,
    FUA,
    MAGIC,
    RUN_BYTES,
    SAMPLE,
    Request,
    joined,
    logs_in,
    next_log,
    read_recording,
    recorded,
    states_in_order,
    states_reordered,
)

FLUSHED = Request()


def sector(letter: str) -> bytes:
    return letter.encode() * SECTOR_BYTES


def write(place: int, letters: str) -> Request:
    """A letter for each sector from this one on."""
    return Request(start_bytes=place * SECTOR_BYTES, content=b"".join(map(sector, letters)))


def seen(states: object) -> list[str]:
    """Each state as it passes by: a letter for each sector."""
    return [bytes(state)[::SECTOR_BYTES].decode() for state in states]  # type: ignore[attr-defined]


def log(folder: Path, *entries: tuple[int, bytes, int], magic: int = MAGIC) -> Path:
    path = folder / "log"
    head = struct.pack("<QQQI", magic, 1, len(entries), SECTOR_BYTES).ljust(SECTOR_BYTES, b"\0")
    parts = [
        struct.pack("<QQQQ", place, len(content) // SECTOR_BYTES, flags, 0).ljust(SECTOR_BYTES, b"\0") + content
        for place, content, flags in entries
    ]
    path.write_bytes(head + b"".join(parts))
    return path


def test_a_log_is_read_as_requests(tmp_path: Path) -> None:
    entries = ((7, sector("a") + sector("b"), 0), (0, b"", FLUSH), (9, sector("c"), FLUSH))
    assert read_recording(log(tmp_path, *entries)) == (write(7, "ab"), FLUSHED, write(9, "c"), FLUSHED)


def test_what_is_no_log_or_holds_what_is_not_done_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no log of writes"):
        read_recording(log(tmp_path, magic=1))
    with pytest.raises(LabError, match="flags 0x4"):
        read_recording(log(tmp_path, (7, b"", DISCARD)))


def test_a_write_that_is_stored_once_it_is_answered_is_marked(tmp_path: Path) -> None:
    (found,) = read_recording(log(tmp_path, (7, sector("a"), FUA)))
    assert found.durable
    assert not write(7, "a").durable


def test_sectors_that_follow_each_other_are_one_write() -> None:
    requests = (write(1, "a"), write(2, "b"), write(9, "c"), FLUSHED, write(10, "d"), write(1, "e"))
    assert list(joined(requests)) == [write(1, "ab"), write(9, "c"), FLUSHED, write(10, "d"), write(1, "e")]
    long = [write(place, "x") for place in range(1, 2 + RUN_BYTES // SECTOR_BYTES)]
    assert [len(run.content) for run in joined(long)] == [RUN_BYTES, SECTOR_BYTES]


def test_the_logs_of_boots_are_in_their_order(tmp_path: Path) -> None:
    assert next_log(tmp_path).name == "01.log"
    for name in ("02.log", "01.log", "01.store", "console.log"):
        (tmp_path / name).touch()
    assert [path.name for path in logs_in(tmp_path)] == ["01.log", "02.log"]
    assert next_log(tmp_path).name == "03.log"


def test_a_log_is_not_written_over(tmp_path: Path) -> None:
    assert f"filename={tmp_path}/log" in " ".join(recorded(tmp_path / "disk", tmp_path / "log"))
    with pytest.raises(FileExistsError):
        recorded(tmp_path / "disk", tmp_path / "log")


def test_a_card_stores_one_sector_after_the_other() -> None:
    assert seen(states_in_order(sector("-") * 3, [write(0, "ab"), FLUSHED, write(2, "c"), write(0, "d")])) == [
        *("---", "a--", "ab-", "abc", "dbc")
    ]


def test_a_disk_stores_any_part_of_what_was_not_flushed() -> None:
    states = seen(states_reordered(sector("-") * 2, [write(0, "ab"), FLUSHED, FLUSHED, write(1, "c"), write(1, "d")]))
    assert states == ["--", "a-", "-b", "ab", "ab", "ac", "ad", "ad", "ad"]


def test_of_many_sectors_the_extremes_and_a_sample_are_taken() -> None:
    count = EXHAUSTIVE_SECTORS + 1
    states = seen(states_reordered(sector("-") * count, [write(0, "x" * count)]))
    assert len(states) == 2 + 2 * count + SAMPLE + 1
    assert {"-" * count, "x" * count, "x" + "-" * (count - 1), "-" + "x" * (count - 1)} <= set(states)
    assert states == seen(states_reordered(sector("-") * count, [write(0, "x" * count)])), "the same draw each time"
