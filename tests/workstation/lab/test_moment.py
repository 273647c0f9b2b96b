# SPDX-License-Identifier: Apache-2.0
"""A device that was stopped goes on from there, and so does another one that is started with its state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.faulty_disk import BOOT_DISK, plain_nodes
from balena_migrate.workstation.lab.qemu import TCG, Emulator, pc_arguments, running
from balena_migrate.workstation.lab.virtual import Moment

PROGRAM = bytes.fromhex("b330 bafd03 ec a801 74fb baf803 ec fec3 88d8 ee b00a ee ebea")
"""A boot sector which answers each byte on the serial line with the next digit, beginning with 1."""
LIMIT_S = 60.0


@contextlib.contextmanager
def counting(folder: Path, state: Path | None = None) -> Iterator[Emulator]:
    """A device that runs the program, or goes on from a state."""
    folder.mkdir()
    disk = folder / "disk"
    disk.write_bytes(PROGRAM.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    drive = ("-drive", f"if=none,id={BOOT_DISK},{plain_nodes(disk, BOOT_DISK)}")
    arguments = pc_arguments([*drive, "-device", f"ide-hd,drive={BOOT_DISK}"], memory_mib=64, accelerator=TCG)
    logs = {"console": folder / "log"}
    with running("qemu-system-x86_64", arguments, serial_logs=logs, state=state) as emulator:
        yield emulator


def send(emulator: Emulator) -> str:
    """The answer to another byte."""
    console = emulator.consoles["console"]
    console.send("x")
    return console.wait_for(r"(\d)\n", LIMIT_S)[1]


@pytest.mark.processes
def test_both_go_on_from_where_the_first_one_was(tmp_path: Path) -> None:
    with counting(tmp_path / "first") as first:
        assert [send(first), send(first)] == ["1", "2"]
        first.save(tmp_path / "state")
        for name in ("second", "third"):
            with counting(tmp_path / name, tmp_path / "state") as other:
                assert [send(other), send(other)] == ["3", "4"]
        first.go_on()
        assert send(first) == "3"


@pytest.mark.processes
def test_what_is_no_state_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"no state")
    wrong = pytest.raises(LabError, match="QEMU does not take the device's state")
    with wrong, counting(tmp_path / "device", tmp_path / "state"):
        pass


def test_the_other_emulator_has_the_copies_of_the_drives_and_all_else_is_the_same() -> None:
    moment = Moment(
        argv=("qemu", "-m", "64M", "-drive", "file=/a/disk", "-drive", "file=/a/variables.fd", "-kernel", "/k"),
        drives=(Path("/a/disk"),),
        state=Path("/moment/state"),
    )
    assert moment.argv_on([Path("/b/c/disk")]) == [
        *("qemu", "-m", "64M", "-drive", "file=/b/c/disk", "-drive", "file=/b/c/variables.fd", "-kernel", "/k"),
    ]
