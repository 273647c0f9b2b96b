# SPDX-License-Identifier: Apache-2.0
"""Fetch and unpack the recipe's packages for an architecture, Debian's and pip's, without running anything in them."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

from balena_migrate.core.architectures import Architecture
from balena_migrate.core.errors import MigrateError
from balena_migrate.core.progress import Say
from balena_migrate.core.system import System
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import MIRROR_VARIABLE, SUITE, TIMEOUT_S, fetch_updated_packages
from balena_migrate.workstation.kit.recipe import PACKAGES, PYTHON_VERSION, WHEEL, WHEEL_FILES

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


def wheel_recipe(architecture: Architecture) -> tuple[object, ...]:
    """What the unpacked wheel depends on."""
    return (WHEEL, PYTHON_VERSION, WHEEL_FILES.get(architecture))


def unpack_wheel(architecture: Architecture, cache_dir: Path, say: Say) -> Path:
    """A folder in the cache with the files of zlib-ng's wheel; an empty one where there is none for the architecture.

    Raises CommandError if pip cannot fetch it, or gets another file than the recipe's.
    """

    def make(folder: Path) -> None:
        if architecture in WHEEL_FILES:
            say(f"{architecture}: fetching {WHEEL}")
            _download_wheel(folder, *WHEEL_FILES[architecture])

    return cached(cache_dir, f"wheel-{architecture}", wheel_recipe(architecture), make)


def _download_wheel(folder: Path, platform: str, sha256: str) -> None:
    """pip compares the hash (pip's documentation, Secure installs) and asks the package index that it is set up for."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{sha256}\n")
    python = ("--implementation", "cp", "--python-version", ".".join(map(str, PYTHON_VERSION)))
    options = ("--no-deps", "--only-binary", ":all:", "--platform", platform, *python, "--dest", folder)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    System().run([*pip, "--require-hashes", *options, "--requirement", wanted], timeout_s=TIMEOUT_S)
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(folder)
        path.unlink()
    wanted.unlink()
