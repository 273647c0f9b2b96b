# SPDX-License-Identifier: Apache-2.0
"""What was put into a look-alike, as it was before it became file systems: what a device must have after the flash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.values import from_json, to_json
from balena_migrate.workstation.lab.snapshot import file_hash

STAGED = {"resin-rootA": "rootA", "resin-state": "state", "resin-data": "data"}
"""Label -> the folder of which the file system is made. The files of resin-boot are in no folder until the end."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """`files` is label -> path -> SHA-256 of every regular file; `used_bytes` are those that file systems use."""

    files: dict[str, dict[str, str]]
    used_bytes: int


def list_content(boot_files: Mapping[str, bytes], work: Path, used_bytes: int) -> Content:
    """The content of an image with these files in resin-boot, and the other file systems' folders in `work`."""
    boot = {path: hashlib.sha256(content).hexdigest() for path, content in boot_files.items()}
    others = {label: _list_folder(work / name) for label, name in STAGED.items()}
    return Content(files={"resin-boot": boot, **others}, used_bytes=used_bytes)


def _list_folder(folder: Path) -> dict[str, str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): file_hash(path) for path in paths}


def write_content(content: Content, target: Path) -> None:
    """Write it as JSON."""
    target.write_text(json.dumps(to_json(content), indent=1) + "\n")


def read_content(path: Path) -> Content:
    """What write_content() wrote."""
    return from_json(Content, json.loads(path.read_text()))
