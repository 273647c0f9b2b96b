# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md names what there is, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/balena_migrate"
PAGE = (ROOT / "docs/architecture.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> str:
    return "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))


def test_the_tree_has_every_folder_and_file_of_the_package() -> None:
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    named = {name.rstrip("/") for name in re.findall(r"`([a-z0-9_/.]+)`", first_cells(section("The tree")))}
    assert named == {name for name in there if not name.startswith("__")}


def test_every_place_for_something_new_is_there() -> None:
    places = re.findall(r"`([a-z0-9_]+(?:/[a-z0-9_]+)*(?:/|\.py))`", section("Where do I put ..."))
    assert len(places) > 20
    missing = [place for place in places if not (PACKAGE / place).exists() and not (ROOT / place).exists()]
    assert missing == []
