# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate undo`."""

from __future__ import annotations

import json

import pytest

from tests.support.command import balena_migrate

pytestmark = pytest.mark.processes


def test_undo_of_nothing_says_so() -> None:
    done = balena_migrate("undo")
    assert (done.returncode, done.stderr.strip()) == (0, "there is nothing to roll back")


def test_json() -> None:
    assert json.loads(balena_migrate("undo", "--json").stdout) == {"changes": 0, "format": 1}
