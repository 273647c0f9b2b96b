# SPDX-License-Identifier: Apache-2.0
"""Chains of clusters that lead anywhere: into themselves, into each other, out of the disk.

Edits of a sample hardly ever make one.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.core.errors import ImageError
from tests.fuzz.damage import fixed
from tests.fuzz.disks import fat_disk, fat_entry, whole_fat
from tests.fuzz.limits import bounded

CLUSTERS = 8
LINKS = st.one_of(st.integers(0, CLUSTERS + 2), st.sampled_from([5001, 0xFFF7, 0xFFFF]))
ENTRIES = st.tuples(st.sampled_from([0x10, 0x20]), st.sampled_from([0, 5, 40_000, 0xFFFFFFFF]), LINKS)
FOLDER = st.lists(ENTRIES, max_size=4)


def folder(entries: list[tuple[int, int, int]]) -> bytes:
    return b"".join(fat_entry(*entry) for entry in entries)


@fixed(100)
@given(root=FOLDER, inner=FOLDER, table=st.lists(LINKS, min_size=CLUSTERS, max_size=CLUSTERS))
def test_any_chains_of_clusters_end_in_files_or_an_image_error(
    root: list[tuple[int, int, int]], inner: list[tuple[int, int, int]], table: list[int]
) -> None:
    """Each cluster begins as the same folder."""
    disk = fat_disk(folder(root), table) + folder(inner).ljust(64 * 512, b"\0") * CLUSTERS
    with bounded():
        try:
            whole_fat(disk)
        except ImageError as error:
            assert error.message
