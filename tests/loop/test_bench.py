# SPDX-License-Identifier: Apache-2.0
"""The bench at the top of the project."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

BENCH = Path(__file__).resolve().parents[2] / "bench"


def loops_in(folder: Path) -> str:
    """The loop devices on files of this folder."""
    lines = subprocess.run(["losetup", "--list", "--noheadings"], check=True, capture_output=True, text=True).stdout
    return "\n".join(line for line in lines.splitlines() if str(folder) in line)


def test_it_compares_side_by_side_and_cleans_up(tmp_path: Path) -> None:
    argv: list[str | Path] = [BENCH, "--size", "16", "--runs", "1", "--dir", tmp_path]
    output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    rows = {line[:26].strip(): line[26:].split() for line in output.splitlines()}
    for name in ("flash, all written", "flash, and read back", "gzip | dd"):
        assert float(rows[name][1]) > 0, "MiB/s"
    assert rows["gzip | dd"][2] == "1.00"
    assert not list(tmp_path.iterdir())
    assert not loops_in(tmp_path)


def test_it_cleans_up_when_it_is_stopped(tmp_path: Path) -> None:
    argv: list[str | Path] = [BENCH, "--size", "64", "--runs", "50", "--dir", tmp_path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        while not bench.stdout.readline().startswith("run 1"):
            pass
        time.sleep(0.2)
        assert loops_in(tmp_path)
        bench.send_signal(signal.SIGTERM)
        assert bench.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
    assert not loops_in(tmp_path)
