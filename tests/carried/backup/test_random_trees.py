# SPDX-License-Identifier: Apache-2.0
"""Trees of any shape come back as they were."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balena_migrate.carried.backup import BackupItem, BackupPlan, make_backup
from balena_migrate.core.system import System

NAMES = st.binary(min_size=1, max_size=120).filter(
    lambda name: b"/" not in name and b"\0" not in name and name.strip(b".")
)
FILES = st.dictionaries(st.tuples(NAMES, NAMES), st.binary(max_size=1500), max_size=12)


def back_up(source: Path, target: Path) -> list[tarfile.TarInfo]:
    plan = BackupPlan(
        name="backup.tgz",
        items=(BackupItem(source=str(source), name="./v"),),
        volumes=("v",),
        name_on_data="b",
        left_out={},
    )
    result = make_backup(System("/"), plan, str(target), lambda done, total: None)
    with tarfile.open(target, encoding="utf-8", errors="surrogateescape") as tar:
        found = tar.getmembers()
    assert len(found) == result.file_count
    return found


@settings(max_examples=40, deadline=None)
@given(FILES, st.integers(0, 2**33), st.integers(0, 0o7777))
def test_names_contents_times_and_modes(files: dict[tuple[bytes, bytes], bytes], time_s: int, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        for (parent, name), content in files.items():
            place = os.path.join(os.fsencode(source), parent)
            os.makedirs(place, exist_ok=True)
            path = os.path.join(place, name)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)
            os.utime(path, (time_s, time_s))
        found = [member for member in back_up(source, Path(folder, "out")) if member.isreg()]
        assert {tuple(os.fsencode(member.name).split(b"/")[2:]) for member in found} == set(files)
        assert {(member.mode, member.mtime) for member in found} <= {(mode, time_s)}
        with tarfile.open(Path(folder, "out"), encoding="utf-8", errors="surrogateescape") as tar:
            for member in found:
                content_of = tar.extractfile(member)
                assert content_of is not None
                parent, name = os.fsencode(member.name).split(b"/")[2:]
                assert content_of.read() == files[parent, name]


@pytest.mark.processes
def test_deep_folders_come_back_and_those_too_deep_are_told(tmp_path: Path) -> None:
    """The kernel takes paths of up to 4095 bytes; what lies deeper can only be reached step by step."""
    source = tmp_path / "s"
    source.mkdir()
    fd = os.open(source, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=fd)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    plan = BackupPlan(
        name="backup.tgz",
        items=(BackupItem(source=str(source), name="./v"),),
        volumes=("v",),
        name_on_data="b",
        left_out={},
    )
    result = make_backup(System("/"), plan, str(tmp_path / "out"), lambda done, total: None)
    assert [skipped.reason for skipped in result.skipped] == ["File name too long"]
    assert 35 < result.file_count < 45
    (tmp_path / "x").mkdir()
    subprocess.run(["busybox", "tar", "-xzf", result.path, "-C", str(tmp_path / "x")], check=True)
    restored = list((tmp_path / "x").rglob("d*"))
    assert len(restored) == result.file_count - 2
    for folder in (tmp_path / "x", source):
        subprocess.run(["rm", "-r", folder], check=True)
