# SPDX-License-Identifier: Apache-2.0
"""Certificates and keys that profiles refer to: they are read now, since the disk will be overwritten."""

from __future__ import annotations

from balena_migrate.core.errors import FileError, NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.model import Certificate


def read_certificate(system: System, path: str, key: str, folder: str = "/") -> Certificate:
    """The certificate at a path, which is absolute or relative to `folder`.

    Raises NetworkConfigError, which names the source's key, if it cannot be carried over.
    """
    if path.lower().startswith("pkcs11:"):
        raise NetworkConfigError(f"{key}: {path} is on a hardware token")
    name = path.removeprefix("file://")
    full = name if name.startswith("/") else f"{folder.rstrip('/')}/{name}"
    if "\0" in full:
        raise NetworkConfigError(f"{key}: the path contains a NUL byte")
    try:
        content = system.read_bytes(full)
    except FileError as error:
        raise NetworkConfigError(f"{key}: {full}: {error.reason}") from None
    if not content:
        raise NetworkConfigError(f"{key}: {full} is empty")
    return Certificate(path=full, content=content)
