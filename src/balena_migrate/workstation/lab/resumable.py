# SPDX-License-Identifier: Apache-2.0
"""The results of a long run, a line of JSON for each, so that a call that was ended goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from balena_migrate.core.values import from_json, to_json

T = TypeVar("T")


def read_done(file: Path, kind: type[T]) -> list[T]:
    """What was done so far. A line that was torn does not count, and is gone from the file afterwards."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        file.write_text("".join(lines))
    return [from_json(kind, json.loads(line)) for line in lines]


def add_done(file: Path, item: object) -> None:
    """One more is done."""
    with file.open("a") as opened:
        opened.write(json.dumps(to_json(item)) + "\n")
