# SPDX-License-Identifier: Apache-2.0
"""What the fuzz knows of a reader, and ways to call one that takes text or a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.system import TEXT_LIMIT_BYTES, System

Call = Callable[[bytes, Path], object]
"""Reads these bytes; the folder is the call's own."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader of foreign bytes, by module and function below balena_migrate."""

    name: str
    read: Call
    samples: Callable[[Path], Sequence[bytes]]
    """Valid input, made by the project's own writers, by fixtures, or by programs (then `programs` is true)."""
    raises: tuple[type[Exception], ...] = ()
    """All that it may raise, by its documentation."""
    covers: tuple[str, ...] = ()
    """Public readers that are called on the way."""
    mended: Callable[[bytes], bytes] | None = None
    """Makes the checksums of damaged input right, so that they hide nothing."""
    is_text: bool = False
    limit_bytes: int = TEXT_LIMIT_BYTES
    """The most that ever gets to it."""
    programs: bool = False
    cost: int = 1
    """How many times fewer examples it gets, and how many times more time, since each takes long."""


def text_of(content: bytes) -> str:
    """As core.system reads text."""
    return content.decode("utf-8", "surrogateescape")


def of_text(call: Callable[[str], object]) -> Call:
    """A reader that takes text."""
    return lambda content, folder: call(text_of(content))


def of_bytes(call: Callable[[bytes], object]) -> Call:
    """A reader that takes bytes."""
    return lambda content, folder: call(content)


def of_file(path: str, call: Callable[[System], object]) -> Call:
    """A reader of a device's file."""

    def read(content: bytes, folder: Path) -> object:
        file = folder / path.lstrip("/")
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o600)
        return call(System(folder))

    return read


def these(*samples: bytes | str) -> Callable[[Path], Sequence[bytes]]:
    """Samples that are simply there."""
    found = tuple(sample.encode() if isinstance(sample, str) else sample for sample in samples)
    return lambda folder: found
