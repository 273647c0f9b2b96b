# SPDX-License-Identifier: Apache-2.0
"""Roots that hold a kit and nothing else, one for each architecture."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from balena_migrate.core.architectures import Architecture
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.kit.build import build_kit
from tests.support.kit_root import Root, enter


@pytest.fixture(scope="session", params=list(Architecture))
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A root with the kit of an architecture. /etc/ld.so.preload is there as on a Raspberry Pi, and must not matter."""
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("building a kit needs root and mmdebstrap")
    architecture: Architecture = request.param
    probe = enter(Path("/"), architecture, "true")
    if probe.returncode:
        pytest.skip(f"programs for {architecture} do not run here: {probe.stderr}")
    path = tmp_path_factory.mktemp(f"root-{architecture}")
    kit = build_kit(architecture, path / "kit", cache_folder())
    for name in ("dev", "etc", "proc", "sys", "var/tmp"):
        (path / name).mkdir(parents=True)
    (path / "etc/ld.so.preload").write_text("/usr/lib/libarmmem.so\n")
    return Root(path=path, kit=kit)
