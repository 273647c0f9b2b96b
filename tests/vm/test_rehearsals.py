# SPDX-License-Identifier: Apache-2.0
"""Whole migrations on virtual devices: each scenario comes to its end, and everything is as its owner expects.

For one of each boot chain, all writes are recorded, and whatever moment the power fails at, the device comes up again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.workstation.lab.acts import NewSystem
from balena_migrate.workstation.lab.guests.debian_pc import DEBIAN_12
from balena_migrate.workstation.lab.scenarios import Scenario
from balena_migrate.workstation.lab.scenarios.table import SCENARIOS

pytestmark = [pytest.mark.vm, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


RECORDED = ("pc-bios-2.15", "pc-uefi", "raspberrypi3-64")
CUTS, BOOTS = 200, 4


def longest_first(scenario: Scenario) -> tuple[bool, bool, bool]:
    """Migrations, recorded ones first, and Raspberry Pis before PCs; then the other endings, which find their stage 1
    made by then."""
    flashes = NewSystem() in scenario.acts
    return not flashes, scenario.name not in RECORDED, scenario.device.guest is DEBIAN_12


NAMES = [scenario.name for scenario in sorted(SCENARIOS.values(), key=longest_first) if scenario.in_tests]
TIMEOUT_S = 3600


def call(folder: Path, name: str, *options: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """The result of ./rehearse NAME --json, and how it ended."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "balena_migrate", "rehearse", name, "--json", result.name, *options]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert result.exists(), done.stderr[-4000:]
    return json.loads(result.read_text()), done


def rehearse(name: str, folder: Path, work: Path) -> dict[str, Any]:
    """The result of ./rehearse NAME; its exit status says the same as its words."""
    result, done = call(folder, name, "--work", str(work), *(["--record"] if name in RECORDED else []))
    failed = [check for check in result["checks"] if not check["passed"]]
    assert failed == [], done.stderr[-4000:]
    assert (done.returncode, result["passed"]) == (0, True), done.stderr[-4000:]
    assert result["checks"], "a rehearsal that checked nothing proves nothing"
    return result


@pytest.mark.parametrize("name", NAMES)
def test_comes_to_its_end_and_all_is_as_expected(name: str, tmp_path: Path, work: Path) -> None:
    """The flash is on the time line where there is a new system, and nowhere else; the report is for people, too."""
    result = rehearse(name, tmp_path, work)
    flashed = any("flash" in step["step"] for step in result["timeline"])
    assert flashed == (NewSystem() in SCENARIOS[name].acts)
    if flashed:
        for key in ("window_s", "stage1_s", "stage2_s", "initramfs_bytes", "peak_memory_bytes"):
            assert result[key] > 0, key
        assert 0 < result["image_used_bytes"] < 500 << 20
        assert all(result["flash"][key] > 0 for key in ("written_bytes", "write_s", "read_back_s")), result["flash"]
    report = tmp_path / "rehearsal" / name
    assert json.loads((report / "report.json").read_text())["passed"] is True
    assert "<svg" in (report / "report.html").read_text()
    assert list(report.glob("*.log"))
    if name in RECORDED:
        try:
            cut_power(name, tmp_path)
        finally:
            shutil.rmtree(report / "recording")  # gigabytes, which pytest would keep


def cut_power(name: str, folder: Path) -> None:
    """No cut before the line, or after the commit, leaves a device that does not come up; those in the window all do,
    but for the last one, so that the judge is known to find such disks."""
    result, done = call(folder, name, "--cuts", str(CUTS), "--boots", str(BOOTS))
    assert (done.returncode, result["passed"], result["wrong"]) == (0, True, []), done.stderr[-4000:]
    assert [check["found"] for check in result["boots"]] == ["as judged"] * BOOTS
    before, window, after = result["tallies"]
    assert before["states"] >= CUTS
    assert before["old_system"] + before["stage2"] == before["states"]
    assert before["stage2"] > 0
    assert window["dead"] >= 0.8 * window["states"] > 0
    assert after["new_system"] == after["states"] > 0
