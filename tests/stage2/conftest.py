# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.stage2 import window
from tests.support.flash import WINDOW_BYTES


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image of tests.support.flash fills some."""
    monkeypatch.setattr(window, "WINDOW_BYTES", WINDOW_BYTES)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """What stands in for a disk."""
    path = tmp_path / "disk"
    path.write_bytes(b"old system " * (20 * MIB // 11))
    return path
