# SPDX-License-Identifier: Apache-2.0
"""Takes programs out of the unpacked packages, with all the shared libraries that they need."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from balena_migrate.core.architectures import Platform
from balena_migrate.core.errors import FileError

PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The unpacked packages of one architecture."""

    path: Path
    platform: Platform

    def program(self, name: str) -> Path:
        """Raises FileError where no package has it."""
        return self._find(name, PROGRAM_FOLDERS)

    def library(self, name: str) -> Path:
        """Raises FileError where no package has it."""
        return self._find(name, (f"usr/lib/{self.platform.triplet}", f"lib/{self.platform.triplet}"))

    def _find(self, name: str, folders: Iterable[str]) -> Path:
        for folder in folders:
            if (self.path / folder / name).exists():
                return self.path / folder / name
        raise FileError(name, "is in none of the recipe's packages")


def needed_libraries(file: Path) -> tuple[str, ...]:
    """The libraries that a program or library names (DT_NEEDED)."""
    with open(file, "rb") as stream:
        sections = ELFFile(stream).iter_sections()
        dynamic = [section for section in sections if isinstance(section, DynamicSection)]
        tags = [tag for section in dynamic for tag in section.iter_tags("DT_NEEDED")]
        return tuple(tag.needed for tag in tags)  # type: ignore[attr-defined]


def library_closure(tree: Tree, files: Iterable[Path], loaded: Iterable[str] = ()) -> dict[str, Path]:
    """All libraries that the files need, directly or through others, and the `loaded` ones, by name.

    The loader is none of them: it is there before everything else. Raises FileError where one is missing.
    """
    found: dict[str, Path] = {}
    todo = [*loaded, *(name for file in files for name in needed_libraries(file))]
    while todo:
        name = todo.pop()
        if name in found or name == tree.platform.loader:
            continue
        found[name] = tree.library(name)
        todo.extend(needed_libraries(found[name]))
    return dict(sorted(found.items()))


def copy_program(program: Path, folder: Path) -> None:
    """The program is in the folder; where its name is a link, as those of mtools, so it is there."""
    real = program.resolve()
    copy_file(real, folder / real.name, mode=0o755)
    if real.name != program.name:
        (folder / program.name).symlink_to(real.name)


def copy_file(source: Path, target: Path, *, mode: int = 0o644) -> None:
    """The target is a copy with this mode; its folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
