# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate status`."""

from __future__ import annotations

import json

import pytest

from tests.support.command import balena_migrate

pytestmark = pytest.mark.processes


def test_a_device_that_was_never_migrated() -> None:
    found = json.loads(balena_migrate("status", "--json").stdout)
    assert found == {"state": "nothing-done", "changes": 0, "stage2_result": None, "in_progress": None, "format": 1}
    assert balena_migrate("status").stdout.strip() == "Nothing was done on this device."
