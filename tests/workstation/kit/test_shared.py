# SPDX-License-Identifier: Apache-2.0
"""Devices of a fleet may share a kit's folder, over NFS or on a stick: nothing is ever written there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.paths import LOCK
from tests.support.kit_root import Root, enter

pytestmark = pytest.mark.kit

READ_ONLY = 'mount --bind "$root/kit" "$root/kit" && mount -o remount,bind,ro "$root/kit"'
CALLS = ("check --json", "plan --json", "run --json", "status --json", "facts --json", "undo --json", "network --json")


def state_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every path with mode, size and the time of its last change of any kind."""
    infos = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {str(path): (info.st_mode, info.st_size, info.st_ctime_ns) for path, info in infos.items()}


@pytest.mark.parametrize("root", [Architecture.AMD64], indirect=True)
@pytest.mark.parametrize("prepare", ["", READ_ONLY], ids=["writable", "read-only"])
def test_no_command_writes_into_the_kit_or_needs_to(root: Root, prepare: str) -> None:
    (root.path / "run").mkdir(exist_ok=True)
    before = state_of(root.kit.path)
    assert len(before) > 100
    for call in CALLS:
        argv = ("/kit/base/busybox", "sh", "/kit/balena-migrate", *call.split())
        done = enter(root.path, root.kit.architecture, *argv, prepare=prepare)
        assert isinstance(json.loads(done.stdout), dict), f"{call}: {done.stdout} {done.stderr}"
        assert "Traceback" not in done.stderr
    assert state_of(root.kit.path) == before
    assert (root.path / LOCK.lstrip("/")).exists(), "run and undo were at work"
