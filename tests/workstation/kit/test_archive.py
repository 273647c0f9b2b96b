# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from balena_migrate.workstation.kit.archive import packed_size_bytes, size_bytes, write_archive


def make_folder(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("run")
    return folder


def archive_of(folder: Path) -> bytes:
    stream = io.BytesIO()
    write_archive(folder, stream, "kit-1")
    return stream.getvalue()


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """Neither the order in which files were made nor their times and owners count."""
    one = make_folder(tmp_path / "one", ["a", "run"])
    two = make_folder(tmp_path / "two", ["run", "a"])
    os.utime(two / "a", (1, 1))
    assert archive_of(one) == archive_of(two)


def test_archive_unpacks_to_one_folder(tmp_path: Path) -> None:
    content = archive_of(make_folder(tmp_path / "one", ["a", "run"]))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        modes = {member.name: (member.mode & 0o111 != 0, member.linkname) for member in archive.getmembers()}
    assert list(modes) == ["kit-1", "kit-1/a", "kit-1/link", "kit-1/run"]
    assert modes["kit-1/run"] == (True, "")
    assert modes["kit-1/link"][1] == "run"


def test_sizes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "one", ["a", "run"])
    assert size_bytes(folder) == len("a") + len("run") + len("run")  # the link's own size is that of its target's name
    assert packed_size_bytes(folder) > 0
