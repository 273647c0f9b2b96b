# SPDX-License-Identifier: Apache-2.0
"""Devices of which a test needs the network configuration only, and libnm as an oracle for keyfiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from tests.support.oracle import Oracle, open_oracle


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    with open_oracle() as process:
        yield process


class Device:
    """A root folder that a test fills with files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = System(root)

    def put(self, path: str, content: str | bytes) -> None:
        """The file is there, with its folders."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
