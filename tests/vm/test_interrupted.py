# SPDX-License-Identifier: Apache-2.0
"""A rehearsal that is ended from outside leaves nothing behind: no device, no mount, no loop device, no disk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

EXIT_INTERRUPTED = 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "rehearsal" / "pc-wrong-image"
    argv = [sys.executable, "-m", "balena_migrate", "rehearse", "pc-wrong-image"]
    with subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("old system" in line for line in process.stderr), "the device is never switched on"
        wait_for_device(folder)
        process.send_signal(number)
        assert process.wait(120) == EXIT_INTERRUPTED
    assert not list(folder.glob("disk*"))
    assert not devices(folder)
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert str(folder) not in subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout


def wait_for_device(folder: Path) -> None:
    until = time.monotonic() + 60
    while not devices(folder):
        assert time.monotonic() < until, "the device is never switched on"
        time.sleep(0.1)


def devices(folder: Path) -> list[str]:
    """The QEMU processes whose working folder is that of the rehearsal."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name, where = (process / "comm").read_text(), (process / "cwd").readlink()
            if name.startswith("qemu-system") and where == folder.parent.parent:
                found.append(process.name)
    return found
