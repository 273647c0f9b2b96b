# SPDX-License-Identifier: Apache-2.0
"""The pages that are made of the source, and how text is put into Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

NOTICE = "<!-- Written by tools/generate; change the source, not this page. -->\n\n"
WIDTH = 100


def paragraph(text: str) -> str:
    """The text, wrapped, with an empty line below."""
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False) + "\n\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with an empty line below."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines) + "\n"


def cell(text: str) -> str:
    """The text on one line, so that no character of it ends the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """The text as code; nothing for nothing."""
    return f"`{text}`" if text else ""
