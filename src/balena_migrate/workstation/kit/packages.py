# SPDX-License-Identifier: Apache-2.0
"""Fetch and unpack the recipe's Debian packages for an architecture, without running anything in them."""

from __future__ import annotations

import os
from pathlib import Path

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.errors import MigrateError
from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import MIRROR_VARIABLE, SUITE, fetch_updated_packages
from balena_migrate.workstation.kit.recipe import PACKAGES

DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)
OPTIONS = ("--variant=extract", *(f"--dpkgopt={option}" for option in DPKG_OPTIONS))
"""The variant `extract` runs no maintainer script and needs no emulator."""


def packages_recipe(architecture: Architecture) -> tuple[object, ...]:
    """What the unpacked packages depend on."""
    return (SUITE, PACKAGES, DPKG_OPTIONS, str(architecture), os.environ.get(MIRROR_VARIABLE, ""))


def unpack_packages(architecture: Architecture, cache_dir: Path, say: Say) -> Path:
    """A folder in the cache with the packages' files.

    Raises MigrateError if this machine cannot unpack packages, CommandError if mmdebstrap fails.
    """

    def make(folder: Path) -> None:
        say(f"{architecture}: fetching and unpacking Debian's packages")
        if System().find_program("mmdebstrap") is None or os.geteuid() != 0:
            raise MigrateError(
                "unpacking packages needs mmdebstrap and root", hint="install mmdebstrap and run this as root"
            )
        fetch_updated_packages(architecture, PACKAGES, folder, options=OPTIONS, say=say)

    return cached(cache_dir, f"packages-{architecture}", packages_recipe(architecture), make)
