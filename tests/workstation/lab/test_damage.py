# SPDX-License-Identifier: Apache-2.0
"""The damage that rehearsals do to an initramfs is what they say."""

from __future__ import annotations

import io

from balena_migrate.initramfs._cpio import Archive, read_names
from balena_migrate.workstation.lab.damage import Damage, damaged


def initramfs() -> bytes:
    file = io.BytesIO()
    archive = Archive(file)
    archive.file("init", b"#!/bin/sh\n" * 100, mode=0o755)
    archive.end()
    return file.getvalue()


def test_a_torn_file_keeps_its_size_and_its_first_half() -> None:
    whole = initramfs()
    torn = damaged(whole, Damage.TORN)
    assert torn is not None and len(torn) == len(whole)
    assert torn[: len(whole) // 2] == whole[: len(whole) // 2] and not any(torn[len(whole) // 2 :])


def test_a_removed_file_is_gone() -> None:
    assert damaged(initramfs(), Damage.REMOVED) is None


def test_a_killed_stage_2_is_an_archive_behind_the_first() -> None:
    content = damaged(initramfs() + b"odd", Damage.KILLED)
    assert content is not None
    start = content.index(b"070701", len(initramfs()))
    assert start % 4 == 0
    assert [str(name) for name in read_names(io.BytesIO(content[start:]))] == ["balena-migrate/base/stage2"]
