# SPDX-License-Identifier: Apache-2.0
"""A disk as it is at a moment of its history: all requests up to then are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from balena_migrate.workstation.lab.disks import copy_disk, require_file
from balena_migrate.workstation.lab.recording import Request


class Replay:
    """A copy of a disk, on which requests are repeated in their order."""

    def __init__(self, before: Path, disk: Path, requests: Sequence[Request]) -> None:
        copy_disk(before, disk)
        self.disk = disk
        self._requests = requests
        self._done = 0

    def advance(self, count: int) -> Sequence[Request]:
        """The first `count` requests are stored, which are no fewer than before; returns those that are new."""
        new = self._requests[self._done : count]
        store(self.disk, new)
        self._done = max(self._done, count)
        return new


def store(disk: Path, requests: Iterable[Request]) -> None:
    """The requests' content is on the disk."""
    with require_file(disk).open("r+b") as file:
        for request in requests:
            file.seek(request.start_bytes)
            file.write(request.content)
