# SPDX-License-Identifier: Apache-2.0
"""Devices of real bug reports: their files, read where they exist and never part of this project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath

import pytest

from balena_migrate.bootloaders import boot_loaders
from balena_migrate.core.system import Result, System
from balena_migrate.facts import Facts
from balena_migrate.facts.gather import read_facts

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "field"

PI_MODEL = b"Raspberry Pi 3 Model B Rev 1.2\0"
PI_REVISION = 0xA02082


class FieldDevice(System):
    """A device whose files are in a folder, and whose lsblk prints a file of it."""

    def __init__(self, root: Path, lsblk: bytes) -> None:
        super().__init__(root)
        self._lsblk = lsblk

    def run(
        self,
        argv: Sequence[str | PurePath],
        *,
        data: bytes | None = None,
        timeout_s: float | None = 600,
        ok: tuple[int, ...] = (0,),
    ) -> Result:
        if argv[0] != "lsblk":
            return super().run(argv, data=data, timeout_s=timeout_s, ok=ok)
        return Result(returncode=0, stdout=self._lsblk, stderr=b"")


def field_device(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> FieldDevice:
    """The device of this situation, as a folder `root`, with its kernel's release; skips the test where it is not."""
    case = Path(os.environ.get("BALENA_MIGRATE_FIELD", _BESIDE)) / name
    if not case.is_dir():
        pytest.skip(f"no situation {name} (set BALENA_MIGRATE_FIELD)")
    if (case / "root").is_dir():
        shutil.copytree(case / "root", root, symlinks=True, dirs_exist_ok=True)
    for source, target in (("proc-cmdline", "proc/cmdline"), ("mountinfo", "proc/self/mountinfo")):
        if (case / source).is_file():
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(case / source, root / target)
    (root / "proc/meminfo").write_text("MemTotal: 2097152 kB\nMemAvailable: 1900000 kB\n")
    if (root / "boot/firmware").is_dir():
        folder = root / "proc/device-tree"
        (folder / "system").mkdir(parents=True)
        (folder / "model").write_bytes(PI_MODEL)
        (folder / "system/linux,revision").write_bytes(PI_REVISION.to_bytes(4, "big"))
    release = (case / "uname-r").read_text().strip() if (case / "uname-r").is_file() else ""
    machine = "aarch64" if (root / "boot/firmware").is_dir() else "x86_64"
    fields = (*os.uname()[:2], release or "6.1.0-test", "#1", machine)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(fields))
    return FieldDevice(root, (case / "lsblk.json").read_bytes())


def field_facts(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """What is found out about the device of this situation."""
    return read_facts(field_device(name, root, monkeypatch), boot_loaders())
