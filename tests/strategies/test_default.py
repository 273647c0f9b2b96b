# SPDX-License-Identifier: Apache-2.0
"""Memory is counted to the MiB that decides."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from balena_migrate.core.memory import MemoryFacts
from balena_migrate.core.units import KIB, MIB
from balena_migrate.facts import Facts
from balena_migrate.initramfs import InitramfsSize, Recipe
from balena_migrate.strategies import MemoryNeed, Stage2Sizes, default
from balena_migrate.strategies.default import kernel_bytes, memory_need
from balena_migrate.survey import Survey
from tests.support.facts import pc_facts
from tests.support.findings import blockers, findings
from tests.support.surveys import carrying, some_backup, some_image, some_survey

SIZES = Stage2Sizes(
    initramfs=InitramfsSize(packed_bytes=15 * MIB, unpacked_bytes=40 * MIB),
    image_bytes=100 * MIB,
    patches_bytes=MIB,
    backup_bytes=10 * MIB,
)


def with_memory(total_bytes: int) -> Facts:
    return replace(pc_facts(), memory=MemoryFacts(total_bytes=total_bytes, available_bytes=0))


def survey(total_bytes: int, **initramfs: int) -> Survey:
    """A device whose initramfs has no modules: it takes the kit's 20 MiB, or so much."""
    size = InitramfsSize(**{"packed_bytes": 0, "unpacked_bytes": 0, **initramfs})
    return some_survey(with_memory(total_bytes), initramfs=Recipe(size=size))


def smallest(**initramfs: int) -> int:
    """The smallest MemTotal, in MiB, that is accepted."""
    return next(mib for mib in range(1, 4096) if "memory-too-small" not in blockers(survey(mib * MIB, **initramfs)))


def test_memory_is_counted_to_the_mib_that_decides() -> None:
    least = smallest()
    assert blockers(survey(least * MIB)) == []
    assert blockers(survey(least * MIB - 1)) == ["memory-too-small"]
    need = 20 + 100 + 2 + default.RESERVE_BYTES // MIB - -kernel_bytes(least * MIB) // MIB
    assert need - 1 <= least <= need + 1


def test_the_sum_is_that_of_the_numbers_that_are_shown() -> None:
    odd = replace(SIZES, image_bytes=100 * MIB + 1, backup_bytes=MIB // 2, patches_bytes=30_000)
    need = memory_need(some_image(), 1000 * MIB, odd)
    text = need.text
    numbers = [int(number) for number in re.findall(r"(\d+) \(", text)]
    assert (numbers[0], numbers[1], numbers[2], numbers[3]) == (40, 1, 101, 1)
    assert sum(numbers) == need.mib == int(re.findall(r"= (\d+) MiB of memory; this device has 1000 MiB$", text)[0])


def test_no_backup_is_no_part() -> None:
    assert "backup" not in memory_need(some_image(), 1000 * MIB, replace(SIZES, backup_bytes=0)).text


def test_the_backup_counts_in_memory() -> None:
    assert blockers(carrying(backups=(some_backup(expected_bytes=2000 * MIB),))) == ["memory-too-small"]


def test_the_initramfs_is_in_memory_twice_while_the_kernel_unpacks_it() -> None:
    """Which counts where its file is larger than all that comes into memory later."""
    large = replace(SIZES, initramfs=InitramfsSize(packed_bytes=300 * MIB, unpacked_bytes=400 * MIB))
    need = memory_need(some_image(), 1000 * MIB, large)
    assert need.text.startswith("stage 2 needs 400 (unpacked initramfs) + 300 (initramfs as it is packed) + ")
    assert need.mib == 700 - -kernel_bytes(1000 * MIB) // MIB
    assert "as it is packed" not in memory_need(some_image(), 1000 * MIB, SIZES).text


@pytest.mark.parametrize(("total_kib", "missing_kib"), [(210760, 43896), (339400, 45716), (468424, 49584)])
def test_the_kernels_part_is_at_least_what_was_measured(total_kib: int, missing_kib: int) -> None:
    """MemTotal - MemAvailable - the unpacked initramfs, at stage 2's start in virtual PCs."""
    assert missing_kib * KIB < kernel_bytes(total_kib * KIB) < missing_kib * KIB + 16 * MIB


ARGUMENTS = [
    ("root=UUID=1 ro", False),
    ("root=UUID=1 rootfstype=ext4", False),
    ("ro quiet", True),
    ("root=UUID=1 rootfstype=tmpfs", True),
]


@pytest.mark.parametrize(("command_line", "limited"), ARGUMENTS)
def test_a_tmpfs_takes_no_more_than_half_of_the_memory(command_line: str, limited: bool) -> None:
    """The kernel takes a ramfs, which has no limit, where its arguments name a root."""
    fitting, large = (survey(1000 * MIB, unpacked_bytes=mib * MIB) for mib in (480, 481))
    facts = replace(large.facts, boot=replace(large.facts.boot, kernel_command_line=command_line))
    assert blockers(replace(fitting, facts=facts)) == []
    found = findings(replace(large, facts=facts))
    assert [item.code for item in found if "tmpfs of half the memory: 500 MiB" in item.cause] == (
        ["memory-too-small"] if limited else []
    )


def test_a_need_is_met_by_as_much_and_no_less() -> None:
    need = MemoryNeed(parts=(("image", 100 * MIB), ("kernel", 1)), device_bytes=101 * MIB)
    assert need.is_met
    assert not replace(need, device_bytes=101 * MIB - 1).is_met
