# SPDX-License-Identifier: Apache-2.0
"""What a boot loader or a firmware starts: the files that it loads, with their content, and the kernel's arguments."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A file that was loaded."""

    path: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Starts:
    """What is started; two that are equal start the same."""

    kernel: Loaded
    initramfs: tuple[Loaded, ...]
    arguments: tuple[str, ...]
    others: tuple[Loaded, ...] = ()

    def __str__(self) -> str:
        loaded = (self.kernel, *self.initramfs, *self.others)
        return ", ".join(f"{file.path} ({file.digest[:8]})" for file in loaded) + " " + " ".join(self.arguments)
