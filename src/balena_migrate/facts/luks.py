# SPDX-License-Identifier: Apache-2.0
"""What unlocks an encrypted partition: the tokens in its LUKS2 header (LUKS2 On-Disk Format Specification, 2 and 3)."""

from __future__ import annotations

import json
import os
import struct

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System, errors_at
from balena_migrate.core.units import MIB

TPM_TOKENS = ("systemd-tpm2", "ubuntu-fde")
"""The types of those whose key a TPM holds: systemd-cryptenroll(1), and snapd's full disk encryption (secboot)."""

_MAGIC, _VERSION = b"LUKS\xba\xbe", 2
_JSON_AT = 4096
_LIMIT_BYTES = 4 * MIB
"""The largest header that the specification allows."""


def read_luks_tokens(system: System, path: str) -> tuple[str, ...]:
    """The types of the tokens of this device; none where it has no LUKS2 header, or one that cannot be read."""
    try:
        with system.open_device(path) as device, errors_at(path):
            head = os.pread(device.fileno(), 16, 0)
            if len(head) < 16 or head[:6] != _MAGIC:
                return ()
            version, size = struct.unpack(">6xHQ", head)
            if version != _VERSION or not _JSON_AT < size <= _LIMIT_BYTES:
                return ()
            return parse_luks_tokens(os.pread(device.fileno(), size - _JSON_AT, _JSON_AT))
    except FileError:
        return ()


def parse_luks_tokens(area: bytes) -> tuple[str, ...]:
    """The types in the JSON area of a header; none in one that is damaged."""
    try:
        tokens = json.loads(area.partition(b"\0")[0])["tokens"].values()
        return tuple(dict.fromkeys(str(token["type"]) for token in tokens))
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return ()
