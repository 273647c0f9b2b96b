# SPDX-License-Identifier: Apache-2.0
"""QEMU is gone when its context ends, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.buses import Bus, attached
from balena_migrate.workstation.lab.qemu import TCG, pc_arguments, running

pytestmark = pytest.mark.vm

BOOT_SECTOR = bytes.fromhex("b048ba f803ee b069ee b00aee ebfe".replace(" ", "")).ljust(510, b"\0") + b"\x55\xaa"
"""Writes "Hi" to the first serial port (0x3f8), and stays there."""

KILLED = """
import signal, sys, time
from pathlib import Path
from balena_migrate.workstation.lab.buses import Bus, attached
from balena_migrate.workstation.lab.qemu import TCG, pc_arguments, running
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
folder = Path(sys.argv[1])
arguments = pc_arguments(attached([folder / "disk"], Bus.SATA), memory_mib=64, accelerator=TCG)
with running("qemu-system-x86_64", arguments, serial_logs={"console": folder / "console.log"}) as device:
    print(device.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
    return path


def test_the_firmware_boots_the_disks_own_code_and_a_power_cut_ends_it(disk: Path, tmp_path: Path) -> None:
    arguments = pc_arguments(attached([disk], Bus.SATA), memory_mib=64, accelerator=TCG)
    logs = {"console": tmp_path / "console.log"}
    with running("qemu-system-x86_64", arguments, serial_logs=logs) as device:
        device.consoles["console"].wait_for("Hi", 120)
        assert device.process.poll() is None
        device.cut_power()
        assert device.process.poll() == 0
    assert "] Hi\n" in logs["console"].read_text()


def test_qemus_own_words_are_told_where_it_does_not_start(tmp_path: Path) -> None:
    arguments = pc_arguments(attached([tmp_path / "missing"], Bus.SATA), memory_mib=64, accelerator=TCG)
    with (
        pytest.raises(LabError, match="No such file"),
        running("qemu-system-x86_64", arguments, serial_logs={"console": tmp_path / "console.log"}),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_is_gone_when_the_one_who_started_it_is_killed(disk: Path, tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(number)
        process.wait(60)
    until = time.monotonic() + 30
    while runs(pid):
        assert time.monotonic() < until, "QEMU goes on"
        time.sleep(0.1)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
