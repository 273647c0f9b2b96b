# SPDX-License-Identifier: Apache-2.0
"""Memory is counted to the byte that decides."""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.checks.storage import KIT_PACKED_PERCENT
from balena_migrate.core.memory import MemoryFacts
from balena_migrate.core.units import MIB
from balena_migrate.strategies import default
from tests.support.facts import pc_facts
from tests.support.findings import blockers
from tests.support.surveys import carrying, some_backup, some_survey


def test_memory_is_counted_to_the_byte_that_decides() -> None:
    def total(size: int) -> list[str]:
        return blockers(some_survey(replace(pc_facts(), memory=MemoryFacts(total_bytes=size, available_bytes=0))))

    packed = 30 * MIB + 20 * MIB * KIT_PACKED_PERCENT // 100
    need = 4 * packed + 100 * MIB + default.PATCHES_BYTES + default.RESERVE_BYTES
    assert total(need) == []
    assert total(need - 1) == ["memory-too-small"]


def test_the_backup_counts_in_memory() -> None:
    assert blockers(carrying(backups=(some_backup(expected_bytes=2000 * MIB),))) == ["memory-too-small"]
