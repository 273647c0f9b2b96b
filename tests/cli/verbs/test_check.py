# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import balena_migrate

pytestmark = pytest.mark.processes


def test_check_shows_all_findings_and_refuses(tmp_path: Path) -> None:
    done = balena_migrate("check", "--home-dir", tmp_path, "--skip-checks", "api vpn time", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["refused"], found["format"]) == (True, 1)
    codes = {finding["code"] for finding in found["findings"]}
    assert {"image", "no-kit"} <= codes
    assert all(f["severity"] in ("blocker", "warning", "ok") and f["cause"] for f in found["findings"])
    assert list(tmp_path.iterdir()) == []


def test_check_in_a_pipe_is_one_plain_line_a_finding(tmp_path: Path) -> None:
    done = balena_migrate("check", "--home-dir", tmp_path, "--skip-checks", "api vpn time")
    assert "BLOCKER  image: no image is named -> set IMAGE_NAME" in done.stdout
    assert "\x1b" not in done.stdout
