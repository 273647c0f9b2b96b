# SPDX-License-Identifier: Apache-2.0
"""Packages come from where the user says, and a broken archive of updates does not stop a build silently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from balena_migrate.core.errors import CommandError
from balena_migrate.core.system import Result, System
from balena_migrate.workstation import debian


class Archive:
    """mmdebstrap's stand-in: keeps what it was told; where updates are broken it fails on them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, updates_broken: bool = False) -> None:
        self.argvs: list[Sequence[str]] = []
        self._broken = updates_broken
        monkeypatch.setattr(debian, "System", lambda: System("/", runner=self.run))

    def run(self, argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        self.argvs.append(argv)
        Path(
            argv[argv.index("bookworm") + 1]
        ).mkdir()  # fails where an earlier attempt left something, as mmdebstrap does
        fails = self._broken and debian.WITHOUT_UPDATES not in argv
        return Result(stdout=b"", stderr=b"File has unexpected size", returncode=1 if fails else 0)


def test_without_a_mirror_mmdebstrap_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALENA_MIGRATE_MIRROR", raising=False)
    archive = Archive(monkeypatch)
    debian.fetch_packages("armel", ["busybox", "fdisk"], tmp_path / "tree")
    assert archive.argvs[0][-2:] == ["bookworm", f"{tmp_path}/tree"]
    assert "--include=busybox,fdisk" in archive.argvs[0]


def test_a_mirror_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALENA_MIGRATE_MIRROR", "http://mirror.example/debian")
    archive = Archive(monkeypatch)
    debian.fetch_packages("armel", ["busybox"], tmp_path / "tree")
    assert archive.argvs[0][-2:] == [f"{tmp_path}/tree", "http://mirror.example/debian"]
    assert debian.WITHOUT_UPDATES not in archive.argvs[0]


def test_updates_that_cannot_be_had_are_said_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALENA_MIGRATE_MIRROR", raising=False)
    archive, said = Archive(monkeypatch, updates_broken=True), list[str]()
    debian.fetch_updated_packages("armhf", ["busybox"], tmp_path / "tree", say=said.append)
    assert len(archive.argvs) == 2
    assert "without the security updates" in said[0]
    assert "unexpected size" in said[0]


def test_a_mirror_of_the_users_own_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALENA_MIGRATE_MIRROR", "http://mirror.example/debian")
    Archive(monkeypatch, updates_broken=True)
    with pytest.raises(CommandError, match="unexpected size"):
        debian.fetch_updated_packages("armhf", ["busybox"], tmp_path / "tree", say=print)
