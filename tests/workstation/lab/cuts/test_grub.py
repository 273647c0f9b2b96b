# SPDX-License-Identifier: Apache-2.0
"""GRUB is asked what it starts from a disk: it reads files as at a start, and writes as at a start."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from balena_migrate.bootloaders.grub import BOOT_LOADER
from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.cuts import grub
from balena_migrate.workstation.lab.cuts.grub import GrubPlace, grub_starts
from tests.support.grub import INITRAMFS, KERNEL, OURS, UUID, Case, GrubDisk, facts_for, grub_cfg

pytestmark = pytest.mark.processes

PLACE = GrubPlace(root="hd0,msdos1", folder="/boot/grub")
FILES = {KERNEL: b"kernel" * 9000, INITRAMFS: b"old" * 9000, OURS: b"ours" * 9000}


@pytest.fixture
def disk(tmp_path: Path) -> GrubDisk:
    """A disk after stage 1."""
    case = Case()
    files = {**FILES, "boot/grub/grub.cfg": grub_cfg(case.setup).encode()}
    for action in BOOT_LOADER.boot_actions(case.config, facts_for(case)):
        files[action.path.lstrip("/")] = action.content  # type: ignore[attr-defined]
    return GrubDisk(tmp_path / "disk", files)


def digest(path: str) -> str:
    return f"{zlib.crc32(FILES[path]):08x}"


def test_stage_2_is_started_once_and_then_the_old_system(disk: GrubDisk) -> None:
    first, second = grub_starts(disk.disk, PLACE), grub_starts(disk.disk, PLACE)
    assert (first.kernel.path, first.kernel.digest) == (f"/{KERNEL}", digest(KERNEL))
    assert [(file.path, file.digest) for file in first.initramfs] == [(f"/{OURS}", digest(OURS))]
    assert [(file.path, file.digest) for file in second.initramfs] == [(f"/{INITRAMFS}", digest(INITRAMFS))]
    assert second.arguments == (f"root=UUID={UUID}", "ro", "quiet")
    assert disk.environment() == {"next_entry": ""}


def test_another_content_is_another_start(disk: GrubDisk) -> None:
    before = grub_starts(disk.disk, PLACE)
    disk.write("boot/grub/grubenv", b"# GRUB Environment Block\nnext_entry=balena-migrate\n".ljust(1024, b"#"))
    disk.write(OURS, FILES[OURS][:-1] + b"!")
    assert grub_starts(disk.disk, PLACE) != before


def test_a_file_that_cannot_be_read_is_not_started(disk: GrubDisk) -> None:
    disk.make_unreadable(OURS)
    with pytest.raises(LabError, match="starts nothing"):
        grub_starts(disk.disk, PLACE)  # it reboots
    assert grub_starts(disk.disk, PLACE).initramfs[0].path == f"/{INITRAMFS}"


def test_a_disk_that_starts_nothing_is_an_error(disk: GrubDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grub, "LIMIT_S", 3)
    disk.remove("boot/grub/grub.cfg")
    with pytest.raises(LabError, match="GRUB"):
        grub_starts(disk.disk, PLACE)
