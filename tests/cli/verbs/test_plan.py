# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate plan`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import balena_migrate

pytestmark = pytest.mark.processes


def test_plan_refuses_with_the_findings(tmp_path: Path) -> None:
    done = balena_migrate("plan", "--home-dir", tmp_path, "--skip-checks", "api vpn time")
    assert done.returncode == 1
    assert "BLOCKER  image" in done.stdout
    assert "this device cannot be migrated as it is" in done.stderr


def test_a_refusal_in_json_is_one_object_with_all_findings(tmp_path: Path) -> None:
    done = balena_migrate("plan", "--json", "--home-dir", tmp_path, "--skip-checks", "api vpn time")
    found = json.loads(done.stdout)
    assert (done.returncode, found["exit_status"], found["format"]) == (1, 1, 1)
    assert found["error"] == "this device cannot be migrated as it is"
    assert "image" in {finding["code"] for finding in found["findings"] if finding["severity"] == "blocker"}
