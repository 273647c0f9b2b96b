# SPDX-License-Identifier: Apache-2.0
"""The kit as the running program sees it, in both stages."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.system import errors_at

PYTHON = "python3"
ARCHITECTURE_FILE = "base/architecture"
SUMS_FILE = "base/SHA256SUMS"
"""The list of all other files of the kit, which is in the initramfs too; balena_migrate.core.kit_sums reads it."""
LAUNCHERS = ("balena-migrate", "balena-stage1")
STARTED = (*LAUNCHERS, "base/busybox", "base/ld.so", "base/stage2")
"""What the kernel starts; programs are started through the loader, but are executable too."""


def is_program(name: str) -> bool:
    """Whether the file of a kit with this name, relative to the kit, must be executable."""
    return name in STARTED or PurePosixPath(name).parent.name == "bin"


@dataclass(frozen=True, kw_only=True)
class Kit:
    """A kit in a folder; the initramfs contains only its base part."""

    path: Path
    architecture: Architecture

    @property
    def base(self) -> Path:
        """The part that goes into the initramfs unchanged."""
        return self.path / "base"

    @property
    def more(self) -> Path:
        return self.path / "more"

    def identity(self) -> str:
        """What tells this kit from every other, in both stages: the SHA-256 of its list. Raises FileError."""
        file = self.path / SUMS_FILE
        with errors_at(file):
            return hashlib.sha256(file.read_bytes()).hexdigest()

    def programs(self) -> dict[str, tuple[str, ...]]:
        """How to start each program of the kit: the first elements of its argv, for System(programs=...)."""
        found = {
            program.name: self._argv(program)
            for part in (self.more, self.base)
            if (part / "bin").is_dir()
            for program in sorted((part / "bin").iterdir())
            if program.name != PYTHON
        }
        return found | {"busybox": (str(self.base / "busybox"),)}

    def _argv(self, program: Path) -> tuple[str, ...]:
        libraries = f"{self.base}/lib:{self.more}/lib"
        loader = (str(self.base / "ld.so"), "--inhibit-cache", "--argv0", program.name, "--library-path", libraries)
        return (*self._environment(program), *loader, str(program))

    def _environment(self, program: Path) -> tuple[str, ...]:
        # mtools converts names from code page 850 and would load the device's converter, built for another C library.
        if program.resolve().name != "mtools":
            return ()
        return (str(self.base / "busybox"), "env", f"GCONV_PATH={self.more}/lib/gconv")


def find_kit() -> Kit | None:
    """The kit that this process runs from; None if it runs from an ordinary Python."""
    return find_kit_in(Path(sys.executable).parent.parent.parent)


def find_kit_in(folder: Path) -> Kit | None:
    """The kit in a folder; None if there is none."""
    file = folder / ARCHITECTURE_FILE
    if not file.is_file():
        return None
    return Kit(path=folder, architecture=Architecture(file.read_text("ascii").strip()))
