# SPDX-License-Identifier: Apache-2.0
"""A folder for what a command reads of an image: its boot partition, which may hold a config.json of its own.

It is in /var/tmp, since /tmp may be in memory, which a board has little of.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACE = Path("/var/tmp")
PREFIX = "balena-migrate-"
_NAME = re.compile(rf"{PREFIX}(?P<pid>\d+)-")


@contextmanager
def scratch_folder(place: Path = PLACE) -> Iterator[Path]:
    """An empty folder that only we can enter, until the end of the block; what a killed command left is gone."""
    remove_left(place)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=place) as name:
        yield Path(name)


def remove_left(place: Path) -> None:
    """Remove the folders of processes that are no more. Whatever anyone else put there stays."""
    for path in place.glob(f"{PREFIX}*"):
        found = _NAME.match(path.name)
        info = path.lstat()
        ours = stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()
        if found and ours and not Path(f"/proc/{found['pid']}").exists():
            shutil.rmtree(path, ignore_errors=True)
