# SPDX-License-Identifier: Apache-2.0
"""What the runs come to: medians, ratios, goals, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from balena_migrate.core.units import MIB
from bench.methods import BMAPTOOL, DD, ETCHER, PREPARED, SHIPPED, Trial
from bench.target import Kind
from bench.throttle import Rates

NOT_READ_BACK = ", not read back"
"""What the name of a row ends with that stands for the first part of another row's time."""
READ_BACK = (ETCHER, SHIPPED, PREPARED)

PEAK_MIB, CPU_TO_DD, LIMIT_SHARE = 64.0, 0.35, 0.92
TO_DD = {SHIPPED: 0.18, PREPARED: 0.10}
TO_BMAPTOOL = {SHIPPED: 0.22, PREPARED: 0.13}
"""The goals: the first two and the ratios at most, the share at least."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: medians, and what they are beside those of others. None is what nobody measured."""

    name: str
    wall_s: float
    to_dd: float
    to_bmaptool: float
    used_mib_s: float
    limit_share: float
    """The time that the target itself needs for all that is in use, to write it and, where the row reads back, to read
    it afterwards, as a part of the row's own."""
    cpu_s: float | None = None
    cpu_to_dd: float | None = None
    peak_mib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure that a row has to reach."""

    what: str
    found: float
    is_reached: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All about one target; `limit` is what holds it back."""

    kind: Kind
    limit: str
    write_mib_s: float
    read_mib_s: float
    rows: tuple[Row, ...]
    goals: tuple[Goal, ...]


def compare(
    trials: Mapping[str, Sequence[Trial]], rates: Sequence[Rates], used_bytes: int, kind: Kind, limit: str
) -> Comparison:
    """What the trials of each method come to, by name; the rates were measured between them."""
    write, read = (
        statistics.median(values) for values in zip(*((rate.write, rate.read) for rate in rates), strict=True)
    )
    rows = tuple(_rows(trials, Rates(write=write, read=read), used_bytes))
    goals = tuple(_goals({row.name: row for row in rows}, kind))
    return Comparison(kind=kind, limit=limit, write_mib_s=write / MIB, read_mib_s=read / MIB, rows=rows, goals=goals)


# Rows ---------------------------------------------------------------------------------------------------------------


def _rows(trials: Mapping[str, Sequence[Trial]], rates: Rates, used_bytes: int) -> Iterator[Row]:
    """One for each method, and before each of ours one for its first part."""
    dd, bmaptool = (median(trials[name], lambda trial: trial.wall_s) for name in (DD, BMAPTOOL))
    dd_cpu_s = median(trials[DD], lambda trial: trial.cpu_s)
    write_s, read_s = used_bytes / rates.write, used_bytes / rates.read

    def row(name: str, wall_s: float, cpu_s: float | None = None, peak_bytes: float | None = None) -> Row:
        return Row(
            name=name,
            wall_s=wall_s,
            to_dd=wall_s / dd,
            to_bmaptool=wall_s / bmaptool,
            used_mib_s=used_bytes / MIB / wall_s,
            limit_share=(write_s + read_s if name in READ_BACK else write_s) / wall_s,
            cpu_s=cpu_s,
            cpu_to_dd=None if cpu_s is None else cpu_s / dd_cpu_s,
            peak_mib=None if peak_bytes is None else peak_bytes / MIB,
        )

    for name, runs in trials.items():
        if name in (SHIPPED, PREPARED):
            yield row(name + NOT_READ_BACK, median(runs, lambda trial: trial.write_s))
        wall_s, cpu_s = median(runs, lambda trial: trial.wall_s), median(runs, lambda trial: trial.cpu_s)
        yield row(name, wall_s, cpu_s, median(runs, lambda trial: trial.peak_bytes))


def median(runs: Sequence[Trial], figure: Callable[[Trial], float]) -> float:
    return statistics.median(figure(trial) for trial in runs)


def _goals(rows: Mapping[str, Row], kind: Kind) -> Iterator[Goal]:
    """Those of our rows that read back; a missing row reaches nothing. Of an emulator only memory is judged: how long
    its processor takes for an instruction has nothing to do with a real one's."""
    for name in (SHIPPED, PREPARED):
        row = rows.get(name)
        if row is None:
            yield Goal(what=f"{name}: this version cannot read its format", found=0.0, is_reached=False)
            continue
        if kind is Kind.THROTTLED:
            yield _at_least(f"{name}: share of the limit", row.limit_share, LIMIT_SHARE)
        if kind is Kind.UNTHROTTLED:
            yield _at_most(f"{name}: time to {DD}", row.to_dd, TO_DD[name])
            yield _at_most(f"{name}: time to {BMAPTOOL}", row.to_bmaptool, TO_BMAPTOOL[name])
        if kind is not Kind.EMULATED:
            yield _at_most(f"{name}: CPU time to {DD}", row.cpu_to_dd, CPU_TO_DD)
        yield _at_most(f"{name}: peak memory in MiB", row.peak_mib, PEAK_MIB)


def _at_most(what: str, found: float | None, wanted: float) -> Goal:
    assert found is not None
    return Goal(what=f"{what}, at most {wanted:g}", found=found, is_reached=found <= wanted)


def _at_least(what: str, found: float, wanted: float) -> Goal:
    return Goal(what=f"{what}, at least {wanted:g}", found=found, is_reached=found >= wanted)


# Shown --------------------------------------------------------------------------------------------------------------

_COLUMNS = ("wall s", "to dd", "to bmap", "MiB/s", "limit", "CPU s", "to dd", "peak MiB")
_FORMATS = ("8.2f", "8.3f", "8.3f", "8.1f", "8.2f", "8.2f", "8.3f", "9.1f")


def show(comparison: Comparison) -> Iterator[str]:
    """The lines of the table, and whether each goal is reached."""
    yield f"target: {comparison.limit or comparison.kind}"
    if comparison.kind is Kind.EMULATED:
        yield "its seconds and MiB/s are those of an emulator: what counts are ratios, and memory"
    yield f"by itself it writes {comparison.write_mib_s:.1f} and reads {comparison.read_mib_s:.1f} MiB/s"
    widths = [int(spec.partition(".")[0]) for spec in _FORMATS]
    yield " " * 32 + "".join(f"{title:>{width}}" for title, width in zip(_COLUMNS, widths, strict=True))
    for row in comparison.rows:
        yield f"{row.name:32}" + "".join(_cells(row))
    for goal in comparison.goals:
        yield f"{'reached' if goal.is_reached else 'MISSED ':8}{goal.found:9.3f}  {goal.what}"


def _cells(row: Row) -> Iterator[str]:
    values = (row.wall_s, row.to_dd, row.to_bmaptool, row.used_mib_s, row.limit_share)
    for value, spec in zip((*values, row.cpu_s, row.cpu_to_dd, row.peak_mib), _FORMATS, strict=True):
        yield format("-", ">" + spec.partition(".")[0]) if value is None else format(value, spec)
