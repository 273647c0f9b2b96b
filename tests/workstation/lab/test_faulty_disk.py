# SPDX-License-Identifier: Apache-2.0
"""A disk fails in a running QEMU as it is asked to, and works again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.workstation.lab.faulty_disk import BOOT_DISK, DiskError, plain_nodes
from balena_migrate.workstation.lab.qemu import TCG, Emulator, pc_arguments, running

pytestmark = pytest.mark.processes
REQUESTS = {DiskError.READ: "read 0 512", DiskError.WRITE: "write 0 512", DiskError.FLUSH: "flush"}


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    disk = ("-drive", f"if=none,id={BOOT_DISK},{plain_nodes(tmp_path / 'disk', BOOT_DISK)}")
    arguments = pc_arguments(disk, memory_mib=64, accelerator=TCG)
    with running("qemu-system-x86_64", arguments, serial_logs={"console": tmp_path / "log"}) as found:
        address = {"type": "unix", "data": {"path": str(tmp_path / "nbd")}}
        found.command("nbd-server-start", addr=address)
        export = {"type": "nbd", "id": "disk", "name": "disk", "node-name": f"{BOOT_DISK}-raw", "writable": True}
        found.command("block-export-add", **export)
        yield found


def failing(folder: Path) -> set[DiskError]:
    """Which requests fail now: they come through QEMU's own NBD server, to the node that the device has."""
    disk = f"nbd+unix:///disk?socket={folder}/nbd"
    # In its mode writeback qemu-io does not flush by itself what it writes.
    command = ["qemu-io", "-t", "writeback", "-f", "raw", "-c"]
    done = {
        what: subprocess.run([*command, request, disk], check=False, capture_output=True)
        for what, request in REQUESTS.items()
    }
    return {what for what, ended in done.items() if ended.returncode != 0}


@pytest.mark.parametrize("what", DiskError)
def test_only_such_requests_fail_and_only_for_so_long(emulator: Emulator, tmp_path: Path, what: DiskError) -> None:
    assert failing(tmp_path) == set()
    emulator.fail_disk(what)
    assert failing(tmp_path) == {what}
    emulator.heal_disk()
    assert failing(tmp_path) == set()


def test_it_can_fail_again(emulator: Emulator, tmp_path: Path) -> None:
    for what in (DiskError.READ, DiskError.WRITE):
        emulator.fail_disk(what)
        assert failing(tmp_path) == {what}
        emulator.heal_disk()


def test_a_device_that_is_off_needs_no_healing(emulator: Emulator) -> None:
    emulator.fail_disk(DiskError.READ)
    emulator.cut_power()
    emulator.heal_disk()
