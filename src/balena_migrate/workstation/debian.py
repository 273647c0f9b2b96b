# SPDX-License-Identifier: Apache-2.0
"""Fetch Debian's packages with mmdebstrap, for kits and virtual devices.

mmdebstrap chooses the archive; BALENA_MIGRATE_MIRROR names another one: an address or a line for sources.list.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from balena_migrate.core.errors import CommandError
from balena_migrate.core.progress import Say
from balena_migrate.core.system import System

SUITE = "bookworm"
MIRROR_VARIABLE = "BALENA_MIGRATE_MIRROR"
TIMEOUT_S = 3600

WITHOUT_UPDATES = """--setup-hook=sed -i -e '/-security/d' -e '/-updates/d' "$1"/etc/apt/sources.list"""


def fetch_packages(
    architecture: str, packages: Sequence[str], target: Path, *, options: Sequence[str] = (), suite: str = SUITE
) -> None:
    """Fetch the release's packages with their dependencies into the target, a folder or a tar file.

    The archives of updates are left out, so that a build can be repeated. Raises CommandError.
    """
    _run(architecture, packages, target, [*options, *([] if _mirror() else [WITHOUT_UPDATES])], suite)


def fetch_updated_packages(
    architecture: str,
    packages: Sequence[str],
    target: Path,
    *,
    options: Sequence[str] = (),
    say: Say,
) -> None:
    """Like fetch_packages, but into a folder and with the security updates: for what runs on a device.

    The archive of updates is sometimes incomplete for an architecture; `say` then reports that they are missing.
    """
    try:
        _run(architecture, packages, target, options, SUITE)
    except CommandError as error:
        if _mirror():
            raise
        say(f"{architecture}: built without the security updates, which cannot be fetched now ({error})")
        shutil.rmtree(target, ignore_errors=True)  # the remains of the failed attempt would stop the next one
        fetch_packages(architecture, packages, target, options=options)


def _mirror() -> list[str]:
    return list(filter(None, [os.environ.get(MIRROR_VARIABLE)]))


def _run(architecture: str, packages: Sequence[str], target: Path, options: Sequence[str], suite: str) -> None:
    argv = ["mmdebstrap", "--quiet", f"--architectures={architecture}", f"--include={','.join(packages)}", *options]
    System().run([*argv, suite, target, *_mirror()], timeout_s=TIMEOUT_S)
