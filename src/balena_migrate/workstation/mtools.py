# SPDX-License-Identifier: Apache-2.0
"""Files on FAT file systems inside disk images, through mtools: without mounts and without root."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System

_FREE = re.compile(r"([\d ]+) bytes free")


@dataclass(frozen=True, kw_only=True)
class FatDrive:
    """A FAT file system at an offset in an image file. Paths in it are relative to its root.

    Every method raises CommandError if mtools fails.
    """

    image: Path
    offset_bytes: int = 0

    def read_file(self, path: str) -> bytes:
        return self._run("mtype", f"::/{path}")

    def list_files(self) -> list[str]:
        """The paths of all files, in all folders."""
        lines = self._run("mdir", "-/", "-b", "::/").decode("utf-8", "surrogateescape").splitlines()
        return [line.removeprefix("::/") for line in lines if not line.endswith("/")]

    def free_bytes(self) -> int:
        """Raises LabError if mtools does not say."""
        found = _FREE.search(self._run("mdir", "::/").decode("utf-8", "replace"))
        if found is None:
            raise LabError(f"mdir does not say how much is free in {self.image}")
        return int(found[1].replace(" ", ""))

    def copy_in(self, files: Iterable[Path], *, keep_times: bool = False) -> None:
        """The files and folders, with all that is in them, are in the root."""
        self._run("mcopy", "-s", *(["-m"] if keep_times else []), *files, "::/")

    def copy_out(self, path: str, target: Path) -> None:
        """The target is a copy of the file; one that was there is replaced."""
        self._run("mcopy", "-n", f"::/{path}", target)

    def copy_all_out(self, folder: Path) -> None:
        """The folder has all files and folders."""
        if self.list_files():
            self._run("mcopy", "-s", "-n", "::/*", folder)

    def write_file(self, path: str, content: bytes) -> None:
        """The file has this content; its folder exists."""
        self._run("mcopy", "-o", "-", f"::/{path}", data=content)

    def remove_file(self, path: str) -> None:
        self._run("mdel", f"::/{path}")

    def _run(self, program: str, *arguments: str | Path, data: bytes = b"") -> bytes:
        # The user's own settings must not matter. mkfs.fat makes file systems without a whole number of tracks.
        environment = ("env", "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8")
        drive = f"{self.image}@@{self.offset_bytes}"
        return System().run([*environment, program, "-i", drive, *arguments], data=data).stdout
