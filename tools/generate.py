# SPDX-License-Identifier: Apache-2.0
"""Write every page that is made of the source, or say which are out of date.

docs/settings.md, docs/findings.md, docs/json.md, docs/man/balena-migrate.1, docs/reliability.md, and the table of
platforms in README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pages.documents import json_page
from pages.manual import manual_page
from pages.reliability import reliability_page
from pages.tables import findings_page, platforms_table, settings_page

TOP = Path(__file__).resolve().parent.parent
PLATFORMS = ("<!-- platforms:begin -->", "<!-- platforms:end -->")

PAGES: dict[str, Callable[[], str]] = {
    "docs/settings.md": settings_page,
    "docs/findings.md": findings_page,
    "docs/json.md": json_page,
    "docs/man/balena-migrate.1": manual_page,
    "docs/reliability.md": reliability_page,
}


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with its text as it has to be."""
    for name, make in PAGES.items():
        yield TOP / name, make()
    readme = TOP / "README.md"
    yield readme, between(readme.read_text("utf-8"), PLATFORMS, platforms_table())


def between(text: str, marks: tuple[str, str], new: str) -> str:
    """The text with what is between the two marks, each on a line of its own, replaced."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise SystemExit(f"generate: README.md has to contain {marks[0]} and {marks[1]}")
    return f"{before}{begin}\n{new}{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is out of date")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in pages() if not path.is_file() or path.read_text("utf-8") != text]
    for path, text in stale:
        print(f"{path.relative_to(TOP)} {'is out of date: run tools/generate' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    sys.exit(bool(check and stale))


if __name__ == "__main__":
    main()
