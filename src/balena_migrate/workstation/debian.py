# SPDX-License-Identifier: Apache-2.0
"""Debian's packages, by mmdebstrap, for kits and virtual devices.

The archive is mmdebstrap's own choice; BALENA_MIGRATE_MIRROR names another one: an address, or a line for sources.list.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from balena_migrate.core.errors import CommandError
from balena_migrate.core.system import System

SUITE = "bookworm"
MIRROR_VARIABLE = "BALENA_MIGRATE_MIRROR"
TIMEOUT_S = 3600

WITHOUT_UPDATES = """--setup-hook=sed -i -e '/-security/d' -e '/-updates/d' "$1"/etc/apt/sources.list"""


def fetch_packages(
    architecture: str, packages: Sequence[str], target: Path, *, options: Sequence[str] = (), suite: str = SUITE
) -> None:
    """The packages and those that they depend on are in the target, a folder or a tar file, as the release had them.

    The archives of updates are left out: what is built from the release can be built again. Raises CommandError.
    """
    _run(architecture, packages, target, [*options, *([] if _mirror() else [WITHOUT_UPDATES])], suite)


def fetch_updated_packages(
    architecture: str,
    packages: Sequence[str],
    target: Path,
    *,
    options: Sequence[str] = (),
    say: Callable[[str], None],
) -> None:
    """As fetch_packages, into a folder, with the security updates: for what runs on a device.

    The archive of updates is now and then not whole for an architecture; then it is said that they are missing.
    """
    try:
        _run(architecture, packages, target, options, SUITE)
    except CommandError as error:
        if _mirror():
            raise
        say(f"{architecture}: the security updates cannot be had now, so this is without them ({error})")
        shutil.rmtree(target, ignore_errors=True)  # what a failed attempt leaves there would stop the next one
        fetch_packages(architecture, packages, target, options=options)


def _mirror() -> list[str]:
    return list(filter(None, [os.environ.get(MIRROR_VARIABLE)]))


def _run(architecture: str, packages: Sequence[str], target: Path, options: Sequence[str], suite: str) -> None:
    argv = ["mmdebstrap", "--quiet", f"--architectures={architecture}", f"--include={','.join(packages)}", *options]
    System().run([*argv, suite, target, *_mirror()], timeout_s=TIMEOUT_S)
