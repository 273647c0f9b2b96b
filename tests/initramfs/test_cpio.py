# SPDX-License-Identifier: Apache-2.0
"""The archives that the kernel unpacks, judged by cpio(1)."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from balena_migrate.initramfs._cpio import Archive, read_names


def some_archive(folder: Path) -> bytes:
    (folder / "inner").mkdir()
    (folder / "inner/program").write_bytes(b"#!")
    (folder / "inner/program").chmod(0o755)
    (folder / "link").symlink_to("inner/program")
    file = io.BytesIO()
    archive = Archive(file)
    archive.folder("dev")
    archive.character_device("dev/console", 5, 1)
    archive.copy("base", folder)
    archive.file("secret", b"12345", mode=0o600)
    archive.end()
    return file.getvalue()


NAMES = ["dev", "dev/console", "base", "base/inner", "base/inner/program", "base/link", "secret"]


@pytest.mark.processes
def test_cpio_lists_what_was_written(tmp_path: Path) -> None:
    content = some_archive(tmp_path)
    listed = subprocess.run(["cpio", "-tv", "--numeric-uid-gid"], input=content, capture_output=True, check=True)
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    assert [(line[0], line[2], line[3]) for line in lines] == [
        ("drwxr-xr-x", "0", "0"),
        ("crw-------", "0", "0"),
        ("drwxr-xr-x", "0", "0"),
        ("drwxr-xr-x", "0", "0"),
        ("-rwxr-xr-x", "0", "0"),
        ("lrwxrwxrwx", "0", "0"),
        ("-rw-------", "0", "0"),
    ]
    assert [line[-1] for line in lines if line[0][0] != "l"] == [name for name in NAMES if name != "base/link"]
    assert lines[1][4:6] == ["5,", "1"] and lines[5][-3:] == ["base/link", "->", "inner/program"]
    assert lines[6][4] == "5"


def test_our_reader_finds_the_names_of_archives_behind_each_other(tmp_path: Path) -> None:
    content = some_archive(tmp_path)
    file = io.BytesIO(content + bytes(512) + content + b"\x1f\x8bcompressed")
    assert [str(name) for name in read_names(file)] == NAMES * 2
    assert file.read(2) == b"\x1f\x8b"


@pytest.mark.processes
def test_our_reader_finds_the_names_in_an_archive_of_cpio(tmp_path: Path) -> None:
    names = "a\nb/c\n"
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_bytes(b"1" * 4097)
    (tmp_path / "b/c").write_bytes(b"")
    made = subprocess.run(
        ["cpio", "-o", "-H", "newc"], input=names.encode(), cwd=tmp_path, capture_output=True, check=True
    )
    assert [str(name) for name in read_names(io.BytesIO(made.stdout))] == ["a", "b/c"]


def test_an_archive_that_is_cut_short_is_an_error_at_every_length(tmp_path: Path) -> None:
    content = some_archive(tmp_path)
    trailer = content.rindex(b"070701")
    for length in range(1, trailer):
        names: list[str] = []
        try:
            names += [str(name) for name in read_names(io.BytesIO(content[:length]))]
        except ValueError:
            continue
        assert len(names) < len(NAMES) or length >= trailer - 4
