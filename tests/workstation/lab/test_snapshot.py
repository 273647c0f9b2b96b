# SPDX-License-Identifier: Apache-2.0
"""Two looks at a file tree tell what changed."""

from __future__ import annotations

from pathlib import Path

from balena_migrate.workstation.lab.snapshot import find_changes, read_tree


def test_sees_content_mode_links_and_files_that_came_or_went(tmp_path: Path) -> None:
    for name in ("content", "mode", "gone", "same"):
        (tmp_path / name).write_text("before")
    (tmp_path / "link").symlink_to("before")
    before = read_tree(tmp_path)
    (tmp_path / "content").write_text("after!")
    (tmp_path / "mode").chmod(0o600)
    (tmp_path / "gone").unlink()
    (tmp_path / "new").write_text("")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("after")
    assert find_changes(before, read_tree(tmp_path)) == ("~content", "-gone", "~link", "~mode", "+new")


def test_our_journal_and_the_logs_may_change_and_what_else_is_named() -> None:
    after = {"var/lib/balena-migrate/journal.jsonl": "x", "var/log/wtmp": "x", "boot/ours": "x", "etc/fstab": "x"}
    assert find_changes({}, after, ("boot/*",)) == ("+etc/fstab",)
