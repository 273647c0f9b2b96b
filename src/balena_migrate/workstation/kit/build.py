# SPDX-License-Identifier: Apache-2.0
"""Builds kits and keeps what was built: the unpacked packages, and the kit of the last source."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.kit import Kit, find_kit_in
from balena_migrate.workstation.cache import cached, locked, remove_others
from balena_migrate.workstation.kit import recipe
from balena_migrate.workstation.kit.assemble import PACKAGE, assemble, package_files
from balena_migrate.workstation.kit.packages import packages_recipe, unpack_packages
from balena_migrate.workstation.kit.programs import Tree


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
    with locked(cache_dir / f".kit-{wanted}.lock"):
        made = _find_or_build(wanted, cache_dir, progress or (lambda line: None))
        remove_others(made)
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(made, destination, symlinks=True)
    return Kit(path=destination, architecture=wanted)


def _find_or_build(architecture: Architecture, cache_dir: Path, say: Callable[[str], None]) -> Path:
    def make(folder: Path) -> None:
        tree = unpack_packages(architecture, cache_dir, say)
        say(f"{architecture}: assembling the kit")
        assemble(Tree(path=tree, platform=PLATFORMS[architecture]), architecture, folder)

    return cached(cache_dir, f"kit-{architecture}", kit_recipe(architecture), make)


def kit_recipe(architecture: Architecture) -> tuple[object, ...]:
    """What a kit depends on: packages, libraries, and our own source."""
    libraries = [(name, metadata.version(name)) for name in recipe.DISTRIBUTIONS]
    source = [
        (str(path.relative_to(PACKAGE)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in package_files()
    ]
    return (packages_recipe(architecture), libraries, source)


def _check_python() -> None:
    if sys.version_info[:2] != recipe.PYTHON_VERSION:
        version = ".".join(map(str, recipe.PYTHON_VERSION))
        raise MigrateError("this Python cannot make the kit's byte code", hint=f"build it with Python {version}")


def _check_destination(destination: Path) -> None:
    if destination.exists() and find_kit_in(destination) is None:
        raise FileError(destination, "is there and is not a kit", hint="name a new folder")
