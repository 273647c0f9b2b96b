# SPDX-License-Identifier: Apache-2.0
"""A FAT file system in the middle of a change, read as a firmware does: one name, one chain, wholly or not at all."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System
from balena_migrate.workstation.lab.fat_state import FatState
from balena_migrate.workstation.mtools import FatDrive

pytestmark = pytest.mark.processes

LONG = "A rather long name of a file.dtbo"
FILES = {"config.txt": b"arm_64bit=1\n" * 300, LONG: b"x" * 5000, "EMPTY": b""}


@pytest.fixture(params=[16, 32])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> bytearray:
    """A file system that mtools wrote, with a folder that has the same files."""
    image, source = tmp_path / "fat", tmp_path / "overlays"
    source.mkdir()
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    with image.open("xb") as file:
        file.truncate(40 << 20)
    System().run(["mkfs.vfat", "-F", str(request.param), "-s", {16: "4", 32: "1"}[request.param], image])
    FatDrive(image=image).copy_in([*source.iterdir(), source])
    return bytearray(image.read_bytes())


def table(disk: bytearray) -> tuple[int, str]:
    """Where the first allocation table begins, and the form of its entries."""
    reserved, short = struct.unpack_from("<H", disk, 14)[0], struct.unpack_from("<H", disk, 22)[0]
    return reserved * 512, "<H" if short else "<I"


def test_every_file_is_read_whole_in_any_case_of_its_name(disk: bytearray) -> None:
    state = FatState(disk)
    for name, content in FILES.items():
        assert state.read(name.upper()) == content
        assert state.read(f"overlays/{name}") == content
    assert (
        not state.exists("absent") and not state.exists("overlays") and not state.exists("overlays/absent/config.txt")
    )
    with pytest.raises(LabError, match="there is no file absent"):
        state.read("absent")


def test_all_names_are_found(disk: bytearray) -> None:
    found = {name.lower() for name in FatState(disk).names()}
    assert found == {name.lower() for name in (*FILES, *(f"overlays/{name}" for name in FILES))}
    assert list(FatState(disk).broken_folders()) == []


def test_a_folder_that_is_being_made_has_no_files(disk: bytearray) -> None:
    """Its name is there, but its cluster is not taken yet."""
    state, (start, form) = FatState(disk), table(disk)
    first = next(n for n in range(2, 2000) if disk[state.place(n) :].startswith(b".          "))
    struct.pack_into(form, disk, start + first * struct.calcsize(form), 0)
    assert {name.lower() for name in state.names()} == {name.lower() for name in FILES}
    assert [name.lower() for name in state.broken_folders()] == ["overlays"]


def test_a_freed_or_a_cut_chain_and_a_loop_are_no_file(disk: bytearray) -> None:
    """The table is changed under the reader, as a state of a recording is."""
    state, (start, form) = FatState(disk), table(disk)
    first = next(n for n in range(2, 2000) if disk[state.place(n) :].startswith(b"arm_64bit"))
    place, end = start + first * struct.calcsize(form), 0xFFFF if form == "<H" else 0x0FFFFFFF
    for value, reason in ((0, "to cluster 0"), (first, f"to cluster {first}"), (end, "3600 bytes, but its clusters")):
        struct.pack_into(form, disk, place, value)
        with pytest.raises(LabError, match=reason):
            [state.read(name) for name in ("config.txt", "overlays/config.txt")]
    assert state.read(LONG) == FILES[LONG]
