# SPDX-License-Identifier: Apache-2.0
"""The bench's arithmetic: medians, ratios, the limit, and whether a goal is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.core.block_map import Range
from balena_migrate.core.units import MIB
from bench.methods import BMAPTOOL, DD, ETCHER, PREPARED, SHIPPED, Trial, bmap_ranges, first_difference
from bench.table import NOT_READ_BACK, compare, show
from bench.target import Kind
from bench.throttle import Rates

USED_BYTES = 400 * MIB
RATES = [Rates(write=200 * MIB, read=400 * MIB), Rates(write=1, read=1), Rates(write=9e9, read=9e9)]
"""The one in the middle counts: 2 s to write all, 1 s to read it."""
BMAP = """<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> 50000 </ImageSize>
    <BlockSize> 4096 </BlockSize>
    <BlockMap>
        <Range chksum="ab"> 0-1 </Range>
        <Range chksum="cd"> 7 </Range>
        <Range chksum="ef"> 10-12 </Range>
    </BlockMap>
</bmap>
"""


def trial(wall_s: float, *, cpu_s: float = 1.0, peak_mib: int = 30, write_s: float = 0.0) -> Trial:
    return Trial(wall_s=wall_s, cpu_s=cpu_s, peak_bytes=peak_mib * MIB, write_s=write_s or wall_s)


def trials() -> dict[str, list[Trial]]:
    return {
        DD: [trial(10, cpu_s=8), trial(9, cpu_s=7), trial(30, cpu_s=9)],
        BMAPTOOL: [trial(8), trial(8), trial(8)],
        ETCHER: [trial(20)],
        SHIPPED: [trial(1.5, cpu_s=2, write_s=1), trial(1.6, cpu_s=2, write_s=1.25), trial(9, cpu_s=9, write_s=8)],
    }


def test_a_row_has_medians_and_ratios() -> None:
    rows = {row.name: row for row in compare(trials(), RATES, USED_BYTES, Kind.UNTHROTTLED, "").rows}
    ours = rows[SHIPPED]
    assert (ours.wall_s, ours.to_dd, ours.to_bmaptool) == (1.6, 0.16, 0.2)
    assert (ours.used_mib_s, ours.cpu_s, ours.cpu_to_dd, ours.peak_mib) == (250, 2, 0.25, 30)
    assert rows[DD].to_dd == 1


def test_what_is_not_read_back_is_a_row_of_its_own() -> None:
    rows = {row.name: row for row in compare(trials(), RATES, USED_BYTES, Kind.UNTHROTTLED, "").rows}
    part = rows[SHIPPED + NOT_READ_BACK]
    assert (part.wall_s, part.to_dd, part.cpu_s, part.peak_mib) == (1.25, 0.125, None, None)
    assert DD + NOT_READ_BACK not in rows


def test_the_limit_counts_reading_only_where_all_is_read_back() -> None:
    rows = {row.name: row.limit_share for row in compare(trials(), RATES, USED_BYTES, Kind.THROTTLED, "a limit").rows}
    assert rows[DD] == pytest.approx(2 / 10)
    assert rows[ETCHER] == pytest.approx(3 / 20)
    assert rows[SHIPPED] == pytest.approx(3 / 1.6)
    assert rows[SHIPPED + NOT_READ_BACK] == pytest.approx(2 / 1.25)


def test_a_goal_is_reached_at_its_figure_and_missed_beyond() -> None:
    at = trials() | {SHIPPED: [trial(1.76, cpu_s=2.8, peak_mib=64)]}
    beyond = trials() | {SHIPPED: [trial(1.81, cpu_s=2.9, peak_mib=65)]}
    reached = [
        goal for goal in compare(at, RATES, USED_BYTES, Kind.UNTHROTTLED, "").goals if goal.what.startswith(SHIPPED)
    ]
    missed = [
        goal for goal in compare(beyond, RATES, USED_BYTES, Kind.UNTHROTTLED, "").goals if goal.what.startswith(SHIPPED)
    ]
    assert [goal.is_reached for goal in reached] == [True] * 4
    assert [goal.is_reached for goal in missed] == [False] * 4


@pytest.mark.parametrize(("wall_s", "is_reached"), [(3.2, True), (3.3, False)])
def test_a_throttled_target_asks_for_a_share_of_its_limit(wall_s: float, *, is_reached: bool) -> None:
    found = compare(trials() | {SHIPPED: [trial(wall_s)]}, RATES, USED_BYTES, Kind.THROTTLED, "a limit").goals
    shares = [goal for goal in found if goal.what.startswith(f"{SHIPPED}: share")]
    assert [goal.is_reached for goal in shares] == [is_reached]
    assert not any("time to gzip" in goal.what and "CPU" not in goal.what for goal in found)


def test_of_an_emulator_only_memory_is_judged_and_the_table_says_what_counts() -> None:
    """Its processor has another speed for each kind of instruction."""
    slow = trials() | {SHIPPED: [trial(99, cpu_s=99, peak_mib=64)], PREPARED: [trial(99, cpu_s=99, peak_mib=65)]}
    found = compare(slow, RATES, USED_BYTES, Kind.EMULATED, "a card")
    assert [(goal.found, goal.is_reached) for goal in found.goals] == [(64, True), (65, False)]
    assert any("ratios" in line for line in show(found))
    assert not any("ratios" in line for line in show(compare(slow, RATES, USED_BYTES, Kind.UNTHROTTLED, "")))


def test_a_row_that_could_not_be_measured_reaches_nothing() -> None:
    missing = [
        goal
        for goal in compare(trials(), RATES, USED_BYTES, Kind.UNTHROTTLED, "").goals
        if goal.what.startswith(PREPARED)
    ]
    assert [goal.is_reached for goal in missing] == [False]


def test_the_table_shows_every_row_and_every_goal() -> None:
    comparison = compare(trials(), RATES, USED_BYTES, Kind.UNTHROTTLED, "")
    lines = list(show(comparison))
    assert lines[1] == "by itself it writes 200.0 and reads 400.0 MiB/s"
    ours = next(line for line in lines if line.startswith(f"{SHIPPED} "))
    assert ours.removeprefix(SHIPPED).split() == ["1.60", "0.160", "0.200", "250.0", "1.88", "2.00", "0.250", "30.0"]
    assert len(lines) == 3 + len(comparison.rows) + len(comparison.goals)
    assert sum(line.startswith("MISSED") for line in lines) == 1


def test_a_map_of_bmaptool_names_ranges_and_single_blocks() -> None:
    assert bmap_ranges(BMAP, 50_000) == (Range(0, 8192), Range(28_672, 32_768), Range(40_960, 50_000))


def test_a_difference_counts_only_within_the_ranges(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(3 * MIB))
    other.write_bytes(bytes(2 * MIB) + b"\xa5" * MIB)
    assert first_difference(one, other, [Range(0, 2 * MIB)]) is None
    assert first_difference(one, other, [Range(0, MIB), Range(2 * MIB + 4096, 3 * MIB)]) == 2 * MIB + 4096
