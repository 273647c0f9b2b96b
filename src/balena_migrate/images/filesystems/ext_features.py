# SPDX-License-Identifier: Apache-2.0
"""Which kernel can write to an ext4 file system: the features in its superblock, and the first Linux that knows them.

The numbers are those of Linux, fs/ext4/ext4.h (EXT4_FEATURE_INCOMPAT_... and ..._RO_COMPAT_...), the versions those of
ext4(5), "Kernel support". Compatible features are not here: every kernel may ignore them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from balena_migrate.images.filesystems.ext import ExtFileSystem

Version = tuple[int, int]

INCOMPATIBLE: Mapping[int, tuple[str, Version]] = {
    0x400: ("ea_inode", (4, 13)),
    0x2000: ("metadata_csum_seed", (4, 4)),
    0x4000: ("large_dir", (4, 13)),
    0x8000: ("inline_data", (3, 8)),
    0x10000: ("encrypt", (4, 1)),
    0x20000: ("casefold", (5, 2)),
}
"""A kernel without one of these does not mount the file system."""
READ_ONLY: Mapping[int, tuple[str, Version]] = {
    0x100: ("quota", (3, 6)),
    0x400: ("metadata_csum", (3, 5)),  # EXT4_FEATURE_RO_COMPAT_SUPP has it; ext4(5) counts from the journal's, 3.18
    0x2000: ("project", (4, 5)),
    0x8000: ("verity", (5, 4)),
    0x10000: ("orphan_present", (5, 15)),  # not in ext4(5): EXT4_FEATURE_RO_COMPAT_SUPP has it since then
}
"""A kernel without one of these mounts the file system read-only."""

JOURNAL: Mapping[int, tuple[str, Version]] = {
    0x8: ("journal_checksum_v2", (3, 5)),
    0x10: ("journal_checksum_v3", (3, 18)),
    0x20: ("journal_fast_commit", (5, 10)),
}
"""Linux, include/linux/jbd2.h. mke2fs sets none; the first kernel that writes to a metadata_csum file system does."""

OLD_INCOMPATIBLE = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200
OLD_READ_ONLY = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x200
OLD_JOURNAL = 0x1 | 0x2 | 0x4
"""Linux 3.2 knows them, the oldest that the kit runs on."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature by the name that dumpe2fs(8) gives it; `since` is None for one that no Linux known here can write."""

    name: str
    since: Version | None

    def describe(self) -> str:
        return f"{self.name} (since {self.since[0]}.{self.since[1]})" if self.since else f"{self.name} (unknown)"


def features_beyond(system: ExtFileSystem, kernel: Version) -> tuple[Feature, ...]:
    """The features that keep a Linux of this version from writing to the file system."""
    found = (
        *_features(system.incompatible & ~OLD_INCOMPATIBLE, INCOMPATIBLE, "FEATURE_I"),
        *_features(system.read_only_compatible & ~OLD_READ_ONLY, READ_ONLY, "FEATURE_R"),
        *_features(system.journal_incompatible & ~OLD_JOURNAL, JOURNAL, "FEATURE_I"),
    )
    return tuple(feature for feature in found if feature.since is None or feature.since > kernel)


def _features(bits: int, table: Mapping[int, tuple[str, Version]], unknown: str) -> Iterator[Feature]:
    for number in range(32):
        if bits & 1 << number:
            name, since = table.get(1 << number, (f"{unknown}{number}", None))
            yield Feature(name=name, since=since)
