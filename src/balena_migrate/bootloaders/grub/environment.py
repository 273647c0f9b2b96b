# SPDX-License-Identifier: Apache-2.0
"""GRUB's environment block: 1024 bytes of `name=value` lines that grub.cfg loads, and writes in place, at every start.

Source: GRUB's manual, "Environment block", and grub-core/lib/envblk.c.
"""

from __future__ import annotations

import re

from balena_migrate.core.paths import BOOT_ENTRY

ENVIRONMENT_BYTES = 1024
ENVIRONMENT_HEADER = "# GRUB Environment Block\n"

LEFT_OUT = (
    "recordfail",  # Ubuntu: the last start did not end well; the menu waits, 14.04's forever
    "initrdfail",  # Ubuntu since 20.04: the last start failed without initramfs; next_entry is replaced by prev_entry
    "prev_entry",
)
"""What earlier starts noted, and what makes grub.cfg do something else than start next_entry. The old system's next
start notes it again where it still holds."""


def parse_environment(text: str) -> dict[str, str]:
    """The variables of a GRUB environment block. Raises ValueError for anything else."""
    if not text.startswith(ENVIRONMENT_HEADER) or len(text.encode("utf-8", "surrogateescape")) != ENVIRONMENT_BYTES:
        raise ValueError("not an environment block of 1024 bytes")
    lines = text[len(ENVIRONMENT_HEADER) :].split("\n")
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key: re.sub(r"\\(.)", r"\1", value) for key, _, value in pairs}


def dump_environment(variables: dict[str, str]) -> bytes:
    """The environment block with these variables. Raises ValueError if they do not fit."""
    lines = (key + "=" + value.replace("\\", "\\\\") + "\n" for key, value in variables.items())
    block = (ENVIRONMENT_HEADER + "".join(lines)).encode("utf-8", "surrogateescape")
    if len(block) > ENVIRONMENT_BYTES:
        raise ValueError("the variables do not fit into 1024 bytes")
    return block.ljust(ENVIRONMENT_BYTES, b"#")


def armed(variables: dict[str, str]) -> bytes:
    """The environment block that makes GRUB start our entry, once. Raises ValueError if that does not fit."""
    kept = {key: value for key, value in variables.items() if key not in LEFT_OUT}
    return dump_environment({**kept, "next_entry": BOOT_ENTRY})
