# SPDX-License-Identifier: Apache-2.0
"""The real files in a look-alike, and the list of all that was put into it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from balena_migrate.core.units import KIB, MIB
from balena_migrate.workstation.lab.lookalike.content import Content, list_content, read_content, write_content
from balena_migrate.workstation.lab.lookalike.ext4 import make_ext4
from balena_migrate.workstation.lab.lookalike.layout import Partition
from balena_migrate.workstation.lab.lookalike.realfiles import fill_data, fill_root, select_files
from balena_migrate.workstation.lab.lookalike.specs import SPECS


def sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


@pytest.fixture
def real_files(tmp_path: Path) -> Path:
    """Programs and modules, most of them small, and a link to one of them."""
    folder = tmp_path / "real"
    for number in range(60):
        path = folder / ("usr/bin" if number % 3 else "lib/modules") / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * (number * 100 + 7))
    (folder / "usr/bin/link").symlink_to("file-1")
    return folder


def test_a_selection_nearly_has_its_size_and_is_of_every_kind(real_files: Path) -> None:
    chosen = list(select_files(real_files, 100 * KIB))
    total = sum(path.stat().st_size for path in chosen)
    assert 95 * KIB < total <= 100 * KIB
    assert {path.parent.name for path in chosen} == {"bin", "modules"}
    assert not any(path.is_symlink() for path in chosen)
    assert list(select_files(real_files, 100 * KIB)) == chosen


def test_a_root_is_filled_up_to_its_size_with_what_was_there(real_files: Path, tmp_path: Path) -> None:
    root = tmp_path / "rootA"
    (root / "boot").mkdir(parents=True)
    (root / "boot/kernel").write_bytes(bytes(50 * KIB))
    fill_root(root, "c0ffee", real_files, 100 * KIB)
    found = sizes(root)
    assert 95 * KIB < sum(found.values()) <= 100 * KIB
    assert all(name.startswith("balena/overlay2/c0ffee/diff/") for name in found if name != "boot/kernel")


def test_data_has_many_small_files_and_a_few_large_ones(real_files: Path, tmp_path: Path) -> None:
    fill_data(tmp_path / "data", "c0ffee", real_files, 80 * KIB)
    found = sizes(tmp_path / "data")
    large = [name for name in found if name.startswith("docker/volumes/")]
    assert [found[name] for name in large] == [10 * KIB] * 4
    assert len(found) - len(large) > 10
    assert 75 * KIB < sum(found.values()) <= 80 * KIB


@pytest.mark.parametrize("name", SPECS)
def test_every_image_has_room_for_its_files(name: str) -> None:
    """A journal is 4 to 16 MiB here, and an inode has 256 bytes for each 8 KiB."""
    spec = SPECS[name]
    assert 230 * MIB <= spec.root_files_bytes < spec.root_bytes * 31 // 32 - 16 * MIB
    assert 35 * MIB <= spec.data_files_bytes < spec.data_bytes // 2


def test_what_was_put_into_an_image_is_listed_and_links_are_not(tmp_path: Path) -> None:
    for folder in ("rootA", "state", "data/docker"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "rootA/program").write_bytes(b"program")
    (tmp_path / "rootA/link").symlink_to("program")
    (tmp_path / "data/docker/volume").write_bytes(b"")
    content = list_content({"config.json": b"{}"}, tmp_path, 4711)
    assert content == Content(
        files={
            "resin-boot": {"config.json": hashlib.sha256(b"{}").hexdigest()},
            "resin-rootA": {"program": hashlib.sha256(b"program").hexdigest()},
            "resin-state": {},
            "resin-data": {"docker/volume": hashlib.sha256(b"").hexdigest()},
        },
        used_bytes=4711,
    )
    write_content(content, tmp_path / "content.json")
    assert read_content(tmp_path / "content.json") == content
    assert json.loads((tmp_path / "content.json").read_text())["used_bytes"] == 4711


@pytest.mark.processes
def test_a_file_system_has_the_same_bytes_whenever_it_is_made(real_files: Path, tmp_path: Path) -> None:
    """Although its files were read meanwhile, and their links changed."""
    part = Partition(number=2, label="resin-rootA", start_bytes=MIB, size_bytes=16 * MIB, type_code="83")
    for path in real_files.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    for name in ("first", "second"):
        (tmp_path / name).write_bytes(bytes(MIB))
        make_ext4(part, tmp_path / name, "-d", str(real_files))
        os.utime(real_files / "usr/bin/file-1", (2, 1))
        os.link(real_files / "usr/bin/file-1", tmp_path / f"{name}-link")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
