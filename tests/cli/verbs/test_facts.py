# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate facts`."""

from __future__ import annotations

import json

import pytest

from tests.support.command import balena_migrate

pytestmark = pytest.mark.processes


def test_facts_are_json_and_hold_no_secret_files() -> None:
    found = json.loads(balena_migrate("facts", "--json").stdout)
    assert found["format"] == 1
    assert found["hardware"]["machine"]
