# SPDX-License-Identifier: Apache-2.0
"""Collections of real files from other projects, read where they exist and never part of this project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def corpus(name: str) -> Path:
    """The folder of a collection; skips the test where there is none."""
    folder = Path(os.environ.get("BALENA_MIGRATE_CORPUS", _BESIDE)) / name
    if not folder.is_dir():
        pytest.skip(f"no collection {name} (set BALENA_MIGRATE_CORPUS)")
    return folder
