# SPDX-License-Identifier: Apache-2.0
"""The damage that rehearsals do to an initramfs is what they say."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from balena_migrate.core.handover import dump_handover, parse_handover
from balena_migrate.initramfs._cpio import Archive, read_names
from balena_migrate.workstation.lab.damage import OTHER_UUID, Damage, damaged
from tests.support.handover import HANDOVER


def initramfs() -> bytes:
    file = io.BytesIO()
    archive = Archive(file)
    archive.file("init", b"#!/bin/sh\n" * 100, mode=0o755)
    archive.end()
    return file.getvalue()


@pytest.mark.parametrize(("how", "left"), [(Damage.TORN, len(initramfs()) // 2), (Damage.EMPTIED, 1024)])
def test_a_file_that_lost_writes_keeps_its_size_and_its_start(how: Damage, left: int) -> None:
    whole = initramfs()
    torn = damaged(whole, how, "")
    assert torn is not None and len(torn) == len(whole)
    assert torn[:left] == whole[:left] and not any(torn[left:])


def test_a_removed_file_is_gone() -> None:
    assert damaged(initramfs(), Damage.REMOVED, "") is None


@pytest.mark.parametrize(
    ("how", "name"),
    [
        (Damage.KILLED, "balena-migrate/base/stage2"),
        (Damage.NO_PYTHON, "balena-migrate/base/lib/python311.zip"),
        (Damage.NO_LIBRARY, "balena-migrate/base/lib/libc.so.6"),
        (Damage.NO_DRIVERS, "etc/balena-migrate-modules"),
        (Damage.NO_ROOT, "etc/balena-migrate-stage2.conf"),
    ],
)
def test_what_is_replaced_is_in_an_archive_behind_the_first(how: Damage, name: str) -> None:
    content = damaged(initramfs() + b"odd", how, dump_handover(HANDOVER).decode())
    assert content is not None
    start = content.index(b"070701", len(initramfs()))
    assert start % 4 == 0
    assert [str(found) for found in read_names(io.BytesIO(content[start:]))] == [name]


def test_an_unknown_root_is_the_only_difference_in_the_hand_over() -> None:
    """So that what stage 2 restores without a root is as stage 1 named it."""
    content = damaged(initramfs(), Damage.NO_ROOT, dump_handover(HANDOVER).decode())
    assert content is not None
    text = content[content.index(b"{", len(initramfs())) : content.rindex(b"}") + 1].decode()
    found = parse_handover(text)
    root = replace(found.file_systems[0], uuid="u")
    assert found.file_systems[0].uuid == OTHER_UUID
    assert replace(found, file_systems=(root, *found.file_systems[1:])) == HANDOVER
