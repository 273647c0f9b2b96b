# SPDX-License-Identifier: Apache-2.0
"""A firmware's variable store: which of its states go with which of the disk's, and how the firmware reads one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.workstation.lab.cuts.nvram import read_store_history, settled
from balena_migrate.workstation.lab.recording import MAGIC, Request, store_log, trace_log

FLUSH = Request()


def disk_write(place: int) -> Request:
    return Request(start_bytes=place * SECTOR_BYTES, content=bytes(2 * SECTOR_BYTES))


DISK = (disk_write(10), FLUSH, disk_write(20), disk_write(30))
DISK_LINES = [
    "blk 0xaa bs 0xab offset 5120 bytes 1024",
    *(f"blk 0xaa bs 0xab offset {p * 512} bytes 1024" for p in (20, 30)),
]
STORE_LINE = "blk 0x55 bs 0x56 offset 512 bytes 512"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A boot's log, beside which the store was written twice: before the disk's first write, and after its second."""
    entries = [(1, b"a" * SECTOR_BYTES), (1, b"b" * SECTOR_BYTES)]
    head = struct.pack("<QQQI", MAGIC, 1, len(entries), SECTOR_BYTES).ljust(SECTOR_BYTES, b"\0")
    parts = [struct.pack("<QQQQ", place, 1, 0, 0).ljust(SECTOR_BYTES, b"\0") + text for place, text in entries]
    store_log(tmp_path / "01.log").write_bytes(head + b"".join(parts))
    put_trace(tmp_path / "01.log", STORE_LINE, DISK_LINES[0], DISK_LINES[1], STORE_LINE, DISK_LINES[2])
    return tmp_path / "01.log"


def put_trace(log: Path, *lines: str) -> None:
    trace_log(log).write_text("".join(f"12@1.0:blk_co_pwritev {line} flags 0x0\n" for line in lines))


def test_between_two_writes_to_the_disk_the_store_may_have_any_of_its_states(log: Path) -> None:
    history = read_store_history(bytes(1024), [(log, DISK)])
    assert history.bounds == ((0, 0), (1, 1), (1, 1), (1, 2), (2, 2))
    assert [history.content(count)[512:513] for count in range(3)] == [b"\0", b"a", b"b"]


def test_the_next_boot_goes_on_where_the_last_one_ended(log: Path) -> None:
    history = read_store_history(bytes(1024), [(log, DISK), (log, DISK)])
    assert history.bounds[len(DISK) + 1 :] == ((3, 3), (3, 3), (3, 4), (4, 4))


def test_a_trace_that_does_not_fit_the_logs_is_an_error(log: Path) -> None:
    put_trace(log, STORE_LINE, DISK_LINES[0])
    with pytest.raises(LabError, match="trace"):
        read_store_history(bytes(1024), [(log, DISK)])


def variable(state: int, name: str, data: bytes) -> bytes:
    """An authenticated variable (edk2, MdeModulePkg/Include/Guid/VariableFormat.h)."""
    text = f"{name}\0".encode("utf-16-le")
    head = (
        struct.pack("<HBxL", 0x55AA, state, 7).ljust(36, b"\0") + struct.pack("<LL", len(text), len(data)) + b"g" * 16
    )
    content = head + text + data
    return content + b"\xff" * (-len(content) % 4)


def states(store: bytes) -> list[int]:
    return [store[place + 2] for place in range(len(store) - 1) if store[place : place + 2] == b"\xaa\x55"]


@pytest.mark.parametrize(
    ("of_old", "of_new", "wanted"),
    [
        (0x3F, 0x7F, [0x3F, 0x7F]),  # the new one is not whole
        (0x3E, 0x7F, [0x3F, 0x7F]),  # the old one is marked, the new one not whole: the old one counts
        (0x3E, 0x3F, [0x3E, 0x3F]),
        (0x3C, 0x3F, [0x3C, 0x3F]),
    ],
)
def test_while_a_value_is_replaced_the_old_one_counts_until_the_new_one_is_whole(
    of_old: int, of_new: int, wanted: list[int]
) -> None:
    store = (
        variable(of_old, "BootOrder", b"\1\0") + variable(0x3F, "Other", b"x") + variable(of_new, "BootOrder", b"\2")
    )
    found = states(settled(bytearray(store + b"\xff" * 100)))
    assert [found[0], found[2]] == wanted
    assert found[1] == 0x3F
