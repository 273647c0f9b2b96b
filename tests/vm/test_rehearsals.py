# SPDX-License-Identifier: Apache-2.0
"""Whole migrations on virtual devices: each scenario comes to its end, and everything is as its owner expects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.workstation.lab.pi_scenarios import PI_SCENARIOS
from balena_migrate.workstation.lab.scenarios import SCENARIOS

pytestmark = [pytest.mark.vm, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

WITH_NEW_SYSTEM = (
    "pc-bios",
    "pc-bios-2.15",
    "pc-network",
    "pc-large-backup",
    "raspberrypi2",
    "raspberrypi3-64",
    "raspberrypi-zero",
)
BACK_TO_THE_OLD_SYSTEM = (
    "pc-no-flash",
    "pc-low-memory-stage2",
    "raspberrypi3-64-no-flash",
)
POWER_CUT = ("raspberrypi-zero-cut-stage1", "raspberrypi-zero-cut-stage2")
REFUSED = ("pc-image-cut", "pc-low-memory", "pc-wrong-image")

TIMEOUT_S = 2400


def rehearse(name: str, folder: Path) -> dict[str, Any]:
    """The result of ./rehearse NAME --json; its exit status says the same as its words."""
    argv = [sys.executable, "-m", "balena_migrate", "rehearse", name, "--json", "result.json"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (folder / "result.json").exists(), done.stderr[-4000:]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    failed = [check for check in result["checks"] if not check["passed"]]
    assert failed == [], done.stderr[-4000:]
    assert (done.returncode, result["passed"]) == (0, True), done.stderr[-4000:]
    assert result["checks"], "a rehearsal that checked nothing proves nothing"
    return result


def assert_report(name: str, folder: Path) -> None:
    """The folder that a rehearsal leaves for people and machines."""
    report = folder / "rehearsal" / name
    assert json.loads((report / "report.json").read_text())["passed"] is True
    assert "<svg" in (report / "report.html").read_text()
    assert list(report.glob("*.log"))


@pytest.mark.parametrize("name", WITH_NEW_SYSTEM)
def test_the_new_system_boots_and_reports(name: str, tmp_path: Path) -> None:
    result = rehearse(name, tmp_path)
    steps = {step["step"] for step in result["timeline"]}
    assert any("flash" in step for step in steps)
    for key in ("window_s", "stage1_s", "stage2_s", "initramfs_bytes", "peak_memory_bytes"):
        assert result[key] > 0, key
    assert_report(name, tmp_path)


@pytest.mark.parametrize("name", BACK_TO_THE_OLD_SYSTEM)
def test_the_old_system_is_back(name: str, tmp_path: Path) -> None:
    result = rehearse(name, tmp_path)
    assert not any("flash" in step["step"] for step in result["timeline"])
    assert_report(name, tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_stage_1_refuses(name: str, tmp_path: Path) -> None:
    rehearse(name, tmp_path)


@pytest.mark.parametrize("name", POWER_CUT)
def test_the_old_system_starts_after_a_power_cut(name: str, tmp_path: Path) -> None:
    rehearse(name, tmp_path)


def test_every_pc_scenario_is_run_here() -> None:
    """Of the Raspberry Pis' each kind is, on one board or another: all of them take hours (./rehearse --all)."""
    run = {*WITH_NEW_SYSTEM, *BACK_TO_THE_OLD_SYSTEM, *POWER_CUT, *REFUSED}
    assert set(SCENARIOS) <= run
    assert run <= {*SCENARIOS, *PI_SCENARIOS}
