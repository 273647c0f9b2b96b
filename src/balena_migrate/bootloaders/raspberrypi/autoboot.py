# SPDX-License-Identifier: Apache-2.0
"""autoboot.txt, which may send the firmware to another partition (raspberrypi/documentation, config_txt: autoboot)."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.config_txt import BROKEN, UnclearError, parse_line, split_lines

AUTOBOOT = "autoboot.txt"
LIMIT_BYTES = 512
FILTERS = {"all": True, "none": False}
"""The filters of this file besides [tryboot], and whether they let settings through. It knows no others."""


def boot_partition(text: str, *, tryboot: bool = False) -> str:
    """The number of the partition that the file chooses for an ordinary start, or for tryboot; "" if it chooses none.

    Raises UnclearError if the documentation leaves that open.
    """
    filters = {**FILTERS, "tryboot": tryboot}
    if len(text.encode("utf-8", "surrogateescape")) > LIMIT_BYTES or BROKEN.search(text):
        raise UnclearError(f"it is longer than {LIMIT_BYTES} bytes, or holds a NUL or a carriage return alone")
    number: str | None = ""
    passes: bool | None = True
    for parsed in filter(None, map(parse_line, split_lines(text))):
        if parsed.key == "[":
            passes = filters.get(parsed.value) if parsed.certain else None
        elif parsed.key == "boot_partition" and passes is not False:
            number = parsed.value if passes and parsed.certain else None
    if number is None:
        raise UnclearError("whether boot_partition holds depends on a line that is not documented")
    return number
