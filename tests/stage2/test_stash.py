# SPDX-License-Identifier: Apache-2.0
"""A file goes into memory whole and unchanged, or stage 2 goes back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.handover import StoredFile
from balena_migrate.core.system import System
from balena_migrate.stage2.stash import RamStash, check_memory

CONTENT = b"image" * 1000
FILE = StoredFile(path="/image", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def old(tmp_path: Path) -> System:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/image").write_bytes(CONTENT)
    return System(tmp_path / "old")


def test_a_good_file_is_copied(old: System, tmp_path: Path) -> None:
    stash = RamStash(tmp_path / "stash")
    stash.add(old, FILE)
    with stash.open(FILE) as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize(("content", "reason"), [(CONTENT[:-1], "bytes"), (b"x" + CONTENT[1:], "SHA-256")])
def test_a_changed_file_is_refused(old: System, tmp_path: Path, content: bytes, reason: str) -> None:
    old.real("/image").write_bytes(content)
    with pytest.raises(FileError, match=reason):
        RamStash(tmp_path / "stash").add(old, FILE)


def test_a_missing_file_is_named(old: System, tmp_path: Path) -> None:
    old.real("/image").unlink()
    with pytest.raises(FileError, match="/image: No such file"):
        RamStash(tmp_path / "stash").add(old, FILE)


def test_memory_that_is_too_small_is_refused_with_the_arithmetic(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 999999 kB\nMemAvailable: {100 << 10} kB\n")
    big = StoredFile(path="/image", size_bytes=70 << 20, sha256="")
    check_memory(System(tmp_path), [big], 30 << 20)
    with pytest.raises(MigrateError, match=r"70 MiB of files \+ 31 MiB to work with > 100 MiB available"):
        check_memory(System(tmp_path), [big], 31 << 20)
