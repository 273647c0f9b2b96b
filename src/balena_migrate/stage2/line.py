# SPDX-License-Identifier: Apache-2.0
"""Whether the line is crossed, for a process that follows one which died behind it.

What is needed is still in memory then: the files of the stash, the hand-over, and this note. Without it stage 2 would
be over, and a disk that is half written starts nothing. The script that starts stage 2 (workstation/kit/stage2.sh)
reads the note's first word, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.paths import STAGE2_LINE
from balena_migrate.core.system import System

NOTE = Path(STAGE2_LINE)
FLASH, FINISH = "flash", "finish"


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """The line is crossed: `target` is the disk, and `flashed` says whether it starts the new system by now."""

    target: str
    flashed: bool = False


def note(crossed: Crossed) -> None:
    """Whoever follows knows of it. Raises FileError."""
    System("/").write_file(NOTE, f"{FINISH if crossed.flashed else FLASH} {crossed.target}\n".encode())


def find() -> Crossed | None:
    """How far a process that died came; None before the line."""
    if not NOTE.exists():
        return None
    far, target = NOTE.read_text().split()
    return Crossed(target=target, flashed=far == FINISH)
