# SPDX-License-Identifier: Apache-2.0
"""Take programs from the unpacked packages, with all the shared libraries that they need."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.architectures import Platform
from balena_migrate.core.errors import FileError
from balena_migrate.workstation.elf import find_libraries

PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The unpacked packages of one architecture."""

    path: Path
    """Debian's."""
    wheel: Path
    """pip's; empty where the architecture has none."""
    platform: Platform

    def program(self, name: str) -> Path:
        """Raises FileError if no package has it."""
        return self._find(name, PROGRAM_FOLDERS)

    def library(self, name: str) -> Path:
        """Raises FileError if no package has it."""
        return self._find(name, (f"usr/lib/{self.platform.triplet}", f"lib/{self.platform.triplet}"))

    def _find(self, name: str, folders: Iterable[str]) -> Path:
        for folder in folders:
            if (self.path / folder / name).exists():
                return self.path / folder / name
        raise FileError(name, "is in none of the recipe's packages")


def library_closure(tree: Tree, files: Iterable[Path], loaded: Iterable[str] = ()) -> dict[str, Path]:
    """All libraries that the files need, directly or through others, and the `loaded` ones, by name.

    Without the loader, which is in memory before any library. Raises FileError if one is missing.
    """
    return find_libraries(files, tree.library, loaded=loaded, without=[tree.platform.loader])


def copy_program(program: Path, folder: Path) -> None:
    """Copy the program into the folder. A name that is a link, as those of mtools are, stays a link."""
    real = program.resolve()
    copy_file(real, folder / real.name, mode=0o755)
    if real.name != program.name:
        (folder / program.name).symlink_to(real.name)


def copy_file(source: Path, target: Path, *, mode: int = 0o644) -> None:
    """Copy a file, with this mode, and create the target's folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
