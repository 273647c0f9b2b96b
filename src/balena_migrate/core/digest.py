# SPDX-License-Identifier: Apache-2.0
"""Tells a file's content from any other by its size and SHA-256, taken while it passes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Protocol


class Writable(Protocol):
    """Takes bytes, as an open file does."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What tells a file's content from any other."""

    size_bytes: int
    sha256: str


@dataclass(kw_only=True)
class Digester:
    """Counts and hashes what is written to it, and passes it on where there is a file."""

    file: Writable | None = None
    size_bytes: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)
    """hashlib's object."""

    def write(self, data: bytes, /) -> None:
        if self.file is not None:
            self.file.write(data)
        self.sha256.update(data)
        self.size_bytes += len(data)

    def digest(self) -> Digest:
        """Of what was written so far."""
        return Digest(size_bytes=self.size_bytes, sha256=self.sha256.hexdigest())

    def copy(self) -> Digester:
        """Another one that has passed on the same to the same file."""
        return replace(self, sha256=self.sha256.copy())
