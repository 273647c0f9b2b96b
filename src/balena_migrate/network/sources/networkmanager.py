# SPDX-License-Identifier: Apache-2.0
"""NetworkManager: keyfiles in /etc, /run and /usr/lib.

Source: nm-settings-keyfile(5) and NetworkManager's src/libnm-core-impl/nm-keyfile.c. A keyfile is carried over
unchanged, since the new system has NetworkManager, too; only what cannot work there is changed or refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.files.keyfile import Keyfile, parse_keyfile
from balena_migrate.network.keyfile_profile import make_profile, outline
from balena_migrate.network.model import Reading
from balena_migrate.network.reading import Collector, is_masked, read_config
from balena_migrate.network.sources import Source

FOLDERS = (
    ("/etc/NetworkManager/system-connections", "*"),
    ("/run/NetworkManager/system-connections", "*.nmconnection"),
    ("/usr/lib/NetworkManager/system-connections", "*.nmconnection"),
    ("/usr/local/lib/NetworkManager/system-connections", "*.nmconnection"),
)

SKIPPED = re.compile(r"\..*|.*~|.*\.[A-Za-z0-9]{6}|(?i:.*\.(?:pem|der))", re.DOTALL)
"""File names that NetworkManager does not read (nms-keyfile-utils.c): hidden, backups, mkstemp's, certificates."""


def read(system: System) -> Reading:
    """Read all keyfiles; a name or UUID in /etc hides the same one in /run, and /run hides /usr/lib."""
    found = Collector()
    names: set[str] = set()
    owners = dict.fromkeys(_deleted(system), PurePosixPath("/"))
    for path in [path for folder, pattern in FOLDERS for path in system.glob(f"{folder}/{pattern}")]:
        if SKIPPED.fullmatch(path.name) or path.name in names or system.is_dir(path):
            continue
        names.add(path.name)
        with found.guard(path):
            file = read_keyfile(system, path)
            with found.guard(path, profile=outline(file, str(path))):
                profile, lost = make_profile(system, file, str(path))
                owner = owners.setdefault(profile.uuid, path) if profile.uuid else path
                if owner is path:
                    found.add(profile, lost)
                elif owner.parent == path.parent:
                    raise NetworkConfigError(
                        f"has the UUID {profile.uuid} of {owner}, and NetworkManager reads one of them"
                    )
    return found.reading()


def _deleted(system: System) -> Iterator[str]:
    """The UUIDs of profiles that were deleted although their folder is read-only."""
    for folder, _ in FOLDERS:
        for path in system.glob(f"{folder}/*.nmmeta"):
            if is_masked(system, path):
                yield path.name.removesuffix(".nmmeta")


def read_keyfile(system: System, path: PurePosixPath) -> Keyfile:
    """One keyfile. Raises FileError if it cannot be read, NetworkConfigError if NetworkManager would not load it."""
    text = read_config(system, path)
    if re.search("[\ud800-\udfff]", text):
        raise NetworkConfigError("is not UTF-8, so NetworkManager does not read it either")
    return parse_keyfile(text)


SOURCE = Source(name="NetworkManager", precedence=10, read=read)
