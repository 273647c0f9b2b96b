# SPDX-License-Identifier: Apache-2.0
"""The damage that rehearsals do to an initramfs is what they say."""

from __future__ import annotations

import io

import pytest

from balena_migrate.initramfs._cpio import Archive, read_names
from balena_migrate.workstation.lab.damage import Damage, damaged


def initramfs() -> bytes:
    file = io.BytesIO()
    archive = Archive(file)
    archive.file("init", b"#!/bin/sh\n" * 100, mode=0o755)
    archive.end()
    return file.getvalue()


@pytest.mark.parametrize(("how", "left"), [(Damage.TORN, len(initramfs()) // 2), (Damage.EMPTIED, 1024)])
def test_a_file_that_lost_writes_keeps_its_size_and_its_start(how: Damage, left: int) -> None:
    whole = initramfs()
    torn = damaged(whole, how)
    assert torn is not None and len(torn) == len(whole)
    assert torn[:left] == whole[:left] and not any(torn[left:])


def test_a_removed_file_is_gone() -> None:
    assert damaged(initramfs(), Damage.REMOVED) is None


def test_a_hung_stage_2_is_started_as_the_kit_does_it() -> None:
    content = damaged(initramfs(), Damage.HUNG)
    assert content is not None
    script = content[len(initramfs()) :].decode()
    assert (
        script.index("kill -STOP $$") < script.index('exec "$base/ld.so"') < script.index("balena_migrate.stage2.main")
    )


def test_a_killed_stage_2_is_an_archive_behind_the_first() -> None:
    content = damaged(initramfs() + b"odd", Damage.KILLED)
    assert content is not None
    start = content.index(b"070701", len(initramfs()))
    assert start % 4 == 0
    assert [str(name) for name in read_names(io.BytesIO(content[start:]))] == ["balena-migrate/base/stage2"]
