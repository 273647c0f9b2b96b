# SPDX-License-Identifier: Apache-2.0
"""Files that are mostly holes: estimated in an instant, archived as the zeros that they read as."""

from __future__ import annotations

import os
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from balena_migrate.carried.backup import SparseFile, make_backup, plan_backups
from balena_migrate.carried.backup.archive import CHUNK_BYTES
from balena_migrate.carried.backup.holes import find_data
from balena_migrate.carried.backup.sink import LEVEL
from balena_migrate.core.system import System
from balena_migrate.core.units import GIB, MIB
from balena_migrate.settings import Config

CONFIG = Config(home_dir="/root", backup_directories=("/var/log",))


@pytest.fixture
def device(tmp_path: Path) -> System:
    for folder in ("root", "var/log"):
        (tmp_path / folder).mkdir(parents=True)
    return System(tmp_path)


def sparse(system: System, name: str, size_bytes: int, *pieces: tuple[int, bytes]) -> Path:
    """A file of this size with pieces at these offsets, and holes between them."""
    path = Path(system.real(f"/var/log/{name}"))
    with path.open("wb") as file:
        for offset, content in pieces:
            file.seek(offset)
            file.write(content)
        file.truncate(size_bytes)
    return path


def data_ranges(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as file:
        return list(find_data(file.fileno(), path.stat().st_size))


def test_a_lastlog_of_423_gib_is_estimated_at_once_and_named(device: System) -> None:
    sparse(device, "lastlog", 423 * GIB, (1000 * 292, b"pts/0".ljust(292, b"\0")))
    start = time.monotonic()
    (plan,) = plan_backups(CONFIG, device)
    assert time.monotonic() - start < 5
    (named,) = plan.sparse
    assert (named.path, named.size_bytes) == ("/var/log/lastlog", 423 * GIB)
    assert 423 * GIB - MIB < named.hole_bytes < 423 * GIB
    assert plan.archive_bytes > 423 * GIB
    assert plan.unpacked_bytes > 423 * GIB
    assert plan.expected_s > 10


def test_holes_do_not_make_the_data_beside_them_look_compressible(device: System) -> None:
    sparse(device, "archive.img", 8 * GIB)
    sparse(device, "camera.bin", 42 * MIB, (2 * MIB, os.urandom(40 * MIB)))
    (plan,) = plan_backups(CONFIG, device)
    holes_bytes = 8 * GIB * len(zlib.compress(bytes(MIB), LEVEL)) / MIB
    assert plan.expected_bytes == pytest.approx(40 * MIB + holes_bytes, rel=0.1)


def test_data_in_a_sparse_file_are_sampled_where_they_are(device: System) -> None:
    sparse(device, "base.qcow2", 16 * MIB, (10 * MIB, os.urandom(MIB)))
    (plan,) = plan_backups(CONFIG, device)
    assert plan.expected_bytes > MIB
    assert plan.sparse == ()


def test_only_the_files_with_the_largest_holes_are_named(device: System) -> None:
    for number in range(1, 9):
        sparse(device, f"disk{number}.img", number * GIB)
    (plan,) = plan_backups(CONFIG, device)
    assert plan.sparse == tuple(
        SparseFile(path=f"/var/log/disk{n}.img", size_bytes=n * GIB, hole_bytes=n * GIB) for n in (8, 7, 6, 5, 4)
    )


def test_the_archive_contains_holes_as_zeros(device: System) -> None:
    pieces = ((0, b"start"), (3 * CHUNK_BYTES + 7, b"middle" * 1000), (9 * MIB - 3, b"end"))
    sources = {
        "gaps": sparse(device, "gaps", 9 * MIB, *pieces),
        "hole at the end": sparse(device, "hole at the end", 5 * MIB + 1, (0, b"start")),
        "only a hole": sparse(device, "only a hole", 2 * MIB),
        "empty": sparse(device, "empty", 0),
    }
    wanted = {f"var/log/{name}": path.read_bytes() for name, path in sources.items()}
    told: list[int] = []
    (plan,) = plan_backups(CONFIG, device)
    made = make_backup(device, plan, "/root/backup.tgz", lambda done, total: told.append(done))
    assert (made.skipped, made.archive_bytes >= plan.archive_bytes) == ((), True)
    assert sum(map(len, wanted.values())) <= told[-1] <= plan.archive_bytes
    with tarfile.open(device.real("/root/backup.tgz")) as archive:
        members = [member for member in archive if member.isfile()]
        assert {m.name: archive.extractfile(m).read() for m in members} == wanted  # type: ignore[union-attr]
        assert not any(member.issparse() for member in members), "the supervisor's busybox unpacks none"


def test_ranges_are_in_order_and_within_the_file(device: System) -> None:
    path = sparse(device, "a", 8 * MIB, (MIB, b"x"), (4 * MIB, b"y"))
    ranges = data_ranges(path)
    assert [start for start, _ in ranges] == [MIB, 4 * MIB]
    assert all(start < end <= 8 * MIB for start, end in ranges)
    assert data_ranges(sparse(device, "b", 3, (0, b"abc"))) == [(0, 3)]
    assert data_ranges(sparse(device, "c", 0)) == []
    assert data_ranges(sparse(device, "d", MIB)) == []


def test_where_the_file_system_tells_no_holes_all_is_data(device: System, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sparse(device, "a", MIB)

    def no_holes(fd: int, offset: int, how: int) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "lseek", no_holes)
    assert data_ranges(path) == [(0, MIB)]


def test_a_file_in_many_pieces_is_not_looked_through_without_end(
    device: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balena_migrate.carried.backup.holes.RANGES_LIMIT", 2)
    path = sparse(device, "a", 8 * MIB, *((n * MIB, b"x") for n in range(1, 8)))
    first, second, rest = data_ranges(path)
    assert (first[0], second[0], rest) == (MIB, 2 * MIB, (second[1], 8 * MIB))
