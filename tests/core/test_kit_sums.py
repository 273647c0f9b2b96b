# SPDX-License-Identifier: Apache-2.0
"""A kit beside the list of its files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.kit import SUMS_FILE, Kit
from balena_migrate.core.kit_sums import BASE, check_folder, format_sums, parse_sums, read_folder
from tests.support.kit import LINK, PROGRAMS, TEXTS, make_kit, write_list


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return make_kit(tmp_path / "kit")


def test_a_kit_as_it_was_made(kit: Kit) -> None:
    found = check_folder(kit.path)
    assert found.faults == ()
    assert found.files == len(PROGRAMS) + len(TEXTS) + 1
    assert found.size_bytes == sum((kit.path / name).stat().st_size for name in (*PROGRAMS, *TEXTS))


@pytest.mark.processes
def test_sha256sum_checks_the_same_list(kit: Kit) -> None:
    check = ["sha256sum", "--check", "--strict", "--quiet", SUMS_FILE]
    assert subprocess.run(check, cwd=kit.path, capture_output=True, timeout=60).returncode == 0
    (kit.base / "ld.so").write_text("another")
    assert subprocess.run(check, cwd=kit.path, capture_output=True, timeout=60).returncode == 1


def test_the_same_files_make_the_same_list(kit: Kit, tmp_path: Path) -> None:
    """Neither the order in which they were made nor their times count."""
    shutil.copytree(kit.path, tmp_path / "two", symlinks=True)
    os.utime(tmp_path / "two/base/ld.so", (1, 1))
    assert format_sums(reversed(list(read_folder(tmp_path / "two")))) == (kit.path / SUMS_FILE).read_text()


def outside(kit: Path) -> Path:
    """A file beside the kit, with the content of its loader."""
    shutil.copy(kit / "base/ld.so", kit.parent / "outside")
    return kit.parent / "outside"


def linked(kit: Path, name: str, target: str) -> None:
    (kit / name).unlink()
    (kit / name).symlink_to(target)


def moved_out(kit: Path) -> None:
    """A folder that is a link leads to the same files elsewhere."""
    (kit / "base/lib").rename(kit.parent / "lib")
    (kit / "base/lib").symlink_to("../../lib")


def piped(kit: Path) -> None:
    (kit / "base/ld.so").unlink()
    os.mkfifo(kit / "base/ld.so")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda kit: (kit / "more/start.py").unlink(), "more/start.py is missing"),
    "added": (lambda kit: (kit / "more/python.pth").touch(), "more/python.pth was added: the list does not have it"),
    "added folder": (lambda kit: (kit / "more/x/y").mkdir(parents=True), ""),
    "changed": (lambda kit: (kit / "more/start.py").write_text("?"), "more/start.py was changed"),
    "link to the same outside": (
        lambda kit: linked(kit, "base/ld.so", f"../../{outside(kit).name}"),
        "base/ld.so is a link to ../../outside, which is no file of the kit",
    ),
    "absolute link": (lambda kit: linked(kit, "base/ld.so", str(outside(kit))), "which is no file of the kit"),
    "link to another file": (lambda kit: linked(kit, LINK, "../start.py"), f"{LINK} was changed"),
    "link to itself": (lambda kit: linked(kit, LINK, "mcopy"), "which is no file of the kit"),
    "folder outside": (moved_out, "base/lib was added: the list does not have it\nbase/lib/libc.so.6 is missing"),
    "pipe": (piped, "base/ld.so is no file"),
    "not executable": (lambda kit: (kit / "base/bin/python3").chmod(0o644), "base/bin/python3 is not executable"),
    "launcher": (lambda kit: (kit / "balena-migrate").chmod(0o644), "balena-migrate is not executable"),
    "text that is executable": (lambda kit: (kit / "more/start.py").chmod(0o755), ""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_as_it_was_is_named(kit: Kit, name: str) -> None:
    damage, fault = DAMAGES[name]
    damage(kit.path)
    faults = "\n".join(check_folder(kit.path).faults)
    assert fault in faults
    assert bool(fault) == bool(faults)


@pytest.mark.parametrize(("name", "count"), [("base/ld.so", 1), ("more/start.py", 0)])
def test_the_part_that_stage_2_gets_is_checked_alone(kit: Kit, name: str, count: int) -> None:
    (kit.path / name).write_text("?")
    assert len(check_folder(kit.path, BASE).faults) == count


def test_a_kit_without_its_list(kit: Kit) -> None:
    (kit.path / SUMS_FILE).unlink()
    with pytest.raises(FileError, match=SUMS_FILE):
        check_folder(kit.path)


@pytest.mark.parametrize("text", ["", "\n", "00  a\n", f"{'0' * 64} a\n", f"{'0' * 64}  a\n" * 2, f"\\{'0' * 64}  a\n"])
def test_a_list_that_is_none(text: str) -> None:
    with pytest.raises(FileError, match=SUMS_FILE):
        parse_sums(text)


def test_no_list_is_made_for_what_no_kit_has(kit: Kit) -> None:
    (kit.path / "more/out").symlink_to("/etc/passwd")
    with pytest.raises(FileError, match="more/out"):
        write_list(kit.path)


def test_another_list_is_another_kit(kit: Kit, tmp_path: Path) -> None:
    before = kit.identity()
    assert make_kit(tmp_path / "same").identity() == before
    (kit.path / "more/start.py").write_text("another stage 1")
    write_list(kit.path)
    assert kit.identity() != before
