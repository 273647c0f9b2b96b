# SPDX-License-Identifier: Apache-2.0
"""A backup on a file system that fills up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.carried.backup import make_backup, plan_backups
from balena_migrate.core.errors import BackupError, FileError
from balena_migrate.core.system import System
from balena_migrate.settings import Config
from balena_migrate.stage2.transfer import copy

pytestmark = [pytest.mark.loop, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def back_up(home: Path, source: Path) -> None:
    config = Config(home_dir=str(home), backup_directories=(str(source),))
    plan = plan_backups(config, System("/"))[-1]
    make_backup(System("/"), plan, config.in_home("backup.tgz"), lambda done, total: None)


def test_a_full_disk_keeps_what_was_there(small: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(6 << 20))
    (small / "backup.tgz").write_text("older")
    with pytest.raises(BackupError, match="No space left on device") as caught:
        back_up(small, source)
    assert caught.value.hint
    assert {path.name: path.read_text() for path in small.iterdir()} == {"backup.tgz": "older"}


def test_no_second_copy_is_made(small: Path) -> None:
    """What is backed up takes more than half of the only disk, and compresses well: there is room for the archive."""
    source = small / "source"
    source.mkdir()
    (source / "zeros").write_bytes(bytes(3 << 20))
    back_up(small, source)
    assert (small / "backup.tgz").stat().st_size < 100_000


def test_half_a_copy_does_not_fill_the_new_systems_disk(small: Path, tmp_path: Path) -> None:
    (tmp_path / "backup").write_bytes(os.urandom(6 << 20))
    with (tmp_path / "backup").open("rb") as backup, pytest.raises(FileError, match="No space left on device"):
        copy(backup, small / "backup.tgz")
    assert list(small.iterdir()) == []
