# SPDX-License-Identifier: Apache-2.0
"""Real files for the file systems of a look-alike: programs, libraries, modules and texts of Debian's packages.

Nothing starts them, so those of one architecture serve all boards.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.units import MIB
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import SUITE
from balena_migrate.workstation.lab.lookalike.sources import unpack_packages
from balena_migrate.workstation.lab.owner import random_bytes

_ARCHITECTURE = "amd64"
_PACKAGES = ("linux-image-amd64", "locales", "perl", "python3", "systemd")
_UNWANTED = ("boot", "dev", "etc", "var")
_ALL_BYTES = 320 * MIB
"""More than any look-alike takes."""
_VOLUME = "docker/volumes/1234567_records/_data"
_LARGE_FILES = 4


def fetch_real_files(cache_dir: Path) -> Path:
    """A folder with `_ALL_BYTES` of regular files, fetched once and kept in the cache."""
    recipe = (SUITE, _ARCHITECTURE, _PACKAGES, _UNWANTED, _ALL_BYTES)
    return cached(cache_dir, "lookalike-real-files", recipe, _make)


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        unpack_packages(_ARCHITECTURE, _PACKAGES, Path(work), unwanted=_UNWANTED)
        add_files(Path(work, "all"), folder, _ALL_BYTES)


def fill_root(root_a: Path, container: str, real_files: Path, size_bytes: int) -> None:
    """Add as many of them to the container's files in `root_a` that these and what is there have `size_bytes`."""
    there = sum(path.stat().st_size for path in root_a.rglob("*") if path.is_file())
    add_files(real_files, root_a / "balena" / layer(container), size_bytes - there)


def fill_data(data: Path, container: str, real_files: Path, size_bytes: int) -> None:
    """Add a container with many small files to `data`, and a volume with a few large ones; half of the size each."""
    add_files(real_files, data / "docker" / layer(container), size_bytes // 2)
    volume = data / _VOLUME
    volume.mkdir(parents=True)
    for number in range(_LARGE_FILES):
        (volume / f"{number}.db").write_bytes(random_bytes(f"record {number}", size_bytes // 2 // _LARGE_FILES))


def layer(container: str) -> str:
    """The folder of a container's files below that of its engine."""
    return f"overlay2/{container}/diff"


def add_files(source: Path, target: Path, size_bytes: int) -> None:
    """Link as many of the files below `source` into `target` as have `size_bytes`: the same ones for the same size.

    They are not copied, which takes longer than all the rest of a build: nothing may write to them.
    """
    for path in select_files(source, size_bytes):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(path)


def select_files(source: Path, size_bytes: int) -> Iterator[Path]:
    """Regular files below `source`, in an order without a pattern: small and large ones of every kind."""
    left_bytes = size_bytes
    files = (path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    for path in sorted(files, key=lambda path: _rank(path.relative_to(source))):
        if path.stat().st_size <= left_bytes:
            left_bytes -= path.stat().st_size
            yield path


def _rank(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()
