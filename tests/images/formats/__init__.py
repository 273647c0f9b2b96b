# SPDX-License-Identifier: Apache-2.0
"""One file for each format, named as in images.formats: how a test makes a file of it, whole, cut short and damaged.

tests/images/test_formats.py fails where one is missing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.images import formats as registry
from balena_migrate.images.formats import Format

FILES = sorted(path.stem for path in Path(registry.__file__).parent.glob("[!_]*.py"))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`pack(image)` is a file of the format that holds the image; the other two spoil such a file."""

    pack: Callable[[bytes], bytes]
    cut: Callable[[bytes], bytes] = lambda packed: packed[: len(packed) * 2 // 3]
    damage: Callable[[bytes], bytes] = lambda packed: flip(packed, len(packed) // 2)
    has_checksum: bool = True
    commands: tuple[str, ...] = ()
    """Shell commands of the format's own tool, which write a packed file `image` to their output."""


def flip(packed: bytes, place: int) -> bytes:
    """The file with one byte changed."""
    return packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :]


def of_file(name: str) -> tuple[Format, Sample]:
    """The format in this file, and its sample, which has to be in a file of that name."""
    found: Format = importlib.import_module(f"{registry.__name__}.{name}").FORMAT
    sample: Sample = importlib.import_module(f"{__name__}.{name}").SAMPLE
    return found, sample


READABLE = [name for name in FILES if of_file(name)[0].pieces is not None]
PACKED = [name for name in READABLE if of_file(name)[0].magics]
