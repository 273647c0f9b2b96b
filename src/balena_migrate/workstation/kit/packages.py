# SPDX-License-Identifier: Apache-2.0
"""Fetches the recipe's Debian packages for an architecture and unpacks them, without running anything of theirs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.errors import MigrateError
from balena_migrate.core.system import System
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


def packages_key(architecture: Architecture) -> str:
    """What names the unpacked packages in the cache: the same for the same packages from the same mirror."""
    asked = [SUITE, PACKAGES, DPKG_OPTIONS, architecture, os.environ.get(MIRROR_VARIABLE, "")]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def unpack_packages(architecture: Architecture, cache_dir: Path, say: Callable[[str], None]) -> Path:
    """A folder with the packages' files; it is made if it is not in the cache.

    Raises MigrateError where this machine cannot do that, CommandError where mmdebstrap fails.
    """
    tree = cache_dir / f"packages-{architecture}-{packages_key(architecture)}"
    if tree.is_dir():
        return tree
    say(f"{architecture}: fetching and unpacking Debian's packages")
    unfinished = tree.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    system = System()
    if system.find_program("mmdebstrap") is None or os.geteuid() != 0:
        raise MigrateError(
            "unpacking packages needs mmdebstrap and root", hint="install mmdebstrap and run this as root"
        )
    fetch_updated_packages(architecture, PACKAGES, unfinished, options=OPTIONS, say=say)
    unfinished.rename(tree)
    return tree
