# SPDX-License-Identifier: Apache-2.0
"""What this machine's own programs need."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from balena_migrate.workstation.elf import find_libraries, read_needs

PYTHON = Path("/proc/self/exe")


def find(name: str) -> Path:
    for folder in ("/lib", "/usr/lib", "/usr/local/lib", f"{sys.base_prefix}/lib"):
        for pattern in (name, f"*-linux-*/{name}"):
            for found in Path(folder).glob(pattern):
                return found
    raise FileNotFoundError(name)


def test_program_names_its_loader_and_libraries() -> None:
    """This Python's own binary needs at least the C library."""
    needs = read_needs(PYTHON)
    assert needs.loader is not None and Path(needs.loader).exists()
    assert "libc.so.6" in needs.libraries


def test_static_program_needs_nothing() -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox here")
    needs = read_needs(Path(busybox))
    if needs.loader is not None:
        pytest.skip("busybox is not static here")
    assert needs.libraries == ()


def test_libraries_of_libraries_are_found() -> None:
    loader = Path(read_needs(PYTHON).loader or "").name
    found = find_libraries([PYTHON], find, without=[loader])
    assert list(found) == sorted(found)
    assert loader not in found
    for path in (PYTHON, *found.values()):
        assert set(read_needs(path).libraries) <= {*found, loader}


def test_library_that_no_file_names_is_found_too() -> None:
    assert "libm.so.6" in find_libraries([], find, loaded=["libm.so.6"])


def test_missing_library_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="libnone"):
        find_libraries([], find, loaded=["libnone.so.1"])
