# SPDX-License-Identifier: Apache-2.0
"""Builds kits and keeps what was built: the unpacked packages, and the kit of the last source."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.kit import Kit, find_kit_in
from balena_migrate.workstation.kit import recipe
from balena_migrate.workstation.kit.assemble import PACKAGE, assemble, package_files
from balena_migrate.workstation.kit.packages import packages_key, unpack_packages
from balena_migrate.workstation.kit.programs import Tree


def default_cache_dir() -> Path:
    """Where builds are kept: $XDG_CACHE_HOME/balena-migrate."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "balena-migrate"


def build_kit(
    architecture: str, destination: Path, cache_dir: Path, progress: Callable[[str], None] | None = None
) -> Kit:
    """The kit of the architecture is in the folder `destination`, in place of a kit that was there.

    Packages and the built kit are kept in `cache_dir`, so that a change of our own source costs seconds. `progress`
    gets a line for each long step. Raises FileError where the destination is something else than a kit, CommandError
    where the packages cannot be had, MigrateError where this Python cannot build it.
    """
    wanted = Architecture(architecture)
    _check_python()
    _check_destination(destination)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir / f"{wanted}.lock"):
        made = _build(wanted, cache_dir, progress or (lambda line: None))
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(made, destination, symlinks=True)
    return Kit(path=destination, architecture=wanted)


def _build(architecture: Architecture, cache_dir: Path, say: Callable[[str], None]) -> Path:
    made = cache_dir / f"kit-{architecture}-{kit_key(architecture)}"
    if made.is_dir():
        return made
    tree = unpack_packages(architecture, cache_dir, say)
    say(f"{architecture}: assembling the kit")
    for older in cache_dir.glob(f"kit-{architecture}-*"):
        shutil.rmtree(older)
    unfinished = made.with_suffix(".new")
    assemble(Tree(path=tree, platform=PLATFORMS[architecture]), architecture, unfinished)
    unfinished.rename(made)
    return made


def kit_key(architecture: Architecture) -> str:
    """What names a built kit in the cache: the same for the same packages, libraries and source of ours."""
    digest = hashlib.sha256(packages_key(architecture).encode())
    for name in recipe.DISTRIBUTIONS:
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    for path in package_files():
        digest.update(f"{path.relative_to(PACKAGE)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _check_python() -> None:
    if sys.version_info[:2] != recipe.PYTHON_VERSION:
        version = ".".join(map(str, recipe.PYTHON_VERSION))
        raise MigrateError("this Python cannot make the kit's byte code", hint=f"build it with Python {version}")


def _check_destination(destination: Path) -> None:
    if destination.exists() and find_kit_in(destination) is None:
        raise FileError(destination, "is there and is not a kit", hint="name a new folder")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two builds of one architecture wait for each other."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
