# SPDX-License-Identifier: Apache-2.0
"""Build kits, and cache the unpacked packages and the newest kit."""

from __future__ import annotations

import hashlib
import shutil
import sys
from importlib import metadata
from pathlib import Path

from balena_migrate.core.architectures import PLATFORMS, Architecture
from balena_migrate.core.errors import FileError, MigrateError
from balena_migrate.core.kit import Kit, find_kit_in
from balena_migrate.core.progress import Say
from balena_migrate.workstation.cache import cached, locked, remove_others
from balena_migrate.workstation.kit import recipe
from balena_migrate.workstation.kit.assemble import PACKAGE, assemble, package_files
from balena_migrate.workstation.kit.packages import packages_recipe, unpack_packages, unpack_wheel, wheel_recipe
from balena_migrate.workstation.kit.programs import Tree


def build_kit(architecture: str, destination: Path, cache_dir: Path, progress: Say | None = None) -> Kit:
    """Build the kit of an architecture in the folder `destination`, replacing a kit that is there.

    Packages and the newest kit are kept in `cache_dir`, so a change in our own source costs seconds. `progress` gets a
    line for each long step. Raises FileError if the destination is anything but a kit, CommandError if the packages
    cannot be fetched, MigrateError if this Python cannot build the kit.
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


def _find_or_build(architecture: Architecture, cache_dir: Path, say: Say) -> Path:
    def make(folder: Path) -> None:
        tree = unpack_packages(architecture, cache_dir, say)
        wheel = unpack_wheel(architecture, cache_dir, say)
        say(f"{architecture}: assembling the kit")
        assemble(Tree(path=tree, wheel=wheel, platform=PLATFORMS[architecture]), architecture, folder)

    return cached(cache_dir, f"kit-{architecture}", kit_recipe(architecture), make)


def kit_recipe(architecture: Architecture) -> tuple[object, ...]:
    """What a kit depends on: packages, libraries, and our own source, with what assembles it."""
    libraries = [(name, metadata.version(name)) for name in recipe.DISTRIBUTIONS]
    files = [*package_files(), *sorted(path for path in Path(__file__).parent.iterdir() if path.is_file())]
    source = [(str(path.relative_to(PACKAGE)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return (packages_recipe(architecture), wheel_recipe(architecture), libraries, source)


def _check_python() -> None:
    if sys.version_info[:2] != recipe.PYTHON_VERSION:
        version = ".".join(map(str, recipe.PYTHON_VERSION))
        raise MigrateError("this Python cannot compile the kit's modules", hint=f"build it with Python {version}")


def _check_destination(destination: Path) -> None:
    if destination.exists() and find_kit_in(destination) is None:
        raise FileError(destination, "already exists and is not a kit", hint="choose another folder")
