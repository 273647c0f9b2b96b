# SPDX-License-Identifier: Apache-2.0
"""What `balena-migrate rehearse` runs and prints: a migration of a virtual device, checked at the end."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from balena_migrate.cli.output import say
from balena_migrate.core.errors import MigrateError, UsageError
from balena_migrate.core.units import MIB
from balena_migrate.core.values import to_json
from balena_migrate.settings import find_setting, parse_value
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.lab.cuts.history import is_recorded
from balena_migrate.workstation.lab.cuts.judge import Boots
from balena_migrate.workstation.lab.cuts.result import CutsResult
from balena_migrate.workstation.lab.cuts.run import RESULT, Wish, cut_power
from balena_migrate.workstation.lab.engine import Places, rehearse
from balena_migrate.workstation.lab.fault import Fault
from balena_migrate.workstation.lab.faults.result import FaultsResult, matrix, summary
from balena_migrate.workstation.lab.faults.run import RESULT as FAULTS
from balena_migrate.workstation.lab.faults.run import run_faults
from balena_migrate.workstation.lab.report import write_report
from balena_migrate.workstation.lab.result import Rehearsal
from balena_migrate.workstation.lab.scenarios import Scenario
from balena_migrate.workstation.lab.scenarios.table import SCENARIOS
from balena_migrate.workstation.lab.wishes import Options

FOLDER = Path("rehearsal")
PLAIN_WIDTH = 160
"""Width of the table if the output is not a terminal."""


def list_scenarios() -> None:
    """Print every scenario with its description."""
    descriptions = {name: scenario.description for name, scenario in SCENARIOS.items()}
    width = max(map(len, descriptions))
    for name, description in descriptions.items():
        click.echo(f"{name:{width}}  {description}")


def parse_setting(text: str) -> tuple[str, str]:
    """Parse KEY=VALUE, which must be valid in the settings file. Raises UsageError."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: must be KEY=VALUE")
    if any(mark in value for mark in '"\\\n'):
        raise UsageError(f"--set {key}: the value must not contain a quotation mark, backslash or line break")
    parse_value(find_setting(key), value, "--set")
    return key, value


@contextlib.contextmanager
def work_folder(folder: Path | None) -> Iterator[Path]:
    """The folder for armed disks that scenarios share; a temporary one by default."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        FOLDER.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".work-", dir=FOLDER) as name:
            yield Path(name)


def run_one(scenario: Scenario, options: Options, work: Path) -> Rehearsal:
    """Run one scenario, print its table and write its report."""
    folder = FOLDER / scenario.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"{scenario.name}: {scenario.description}")
    try:
        result = rehearse(scenario, options, Places(folder=folder, work=work, cache=cache_folder()), say)
    except MigrateError as error:
        result = Rehearsal.failed(scenario.name, scenario.description, str(error))
    show(result)
    say(f"report: {write_report(result, folder)}")
    return result


def cut_one(scenario: Scenario, options: Options, work: Path, wish: Wish) -> CutsResult | Rehearsal:
    """Cut the power in a scenario, which is recorded first unless it was before; its own result if it fails."""
    folder = FOLDER / scenario.name
    if not is_recorded(folder):
        recorded = run_one(scenario, replace(options, record=True), work)
        if not recorded.passed:
            return recorded
    say(f"{scenario.name}: {wish.count} power cuts before the line, seed {wish.seed}")
    result = cut_power(scenario, wish, folder, say)
    write_json([result], folder / RESULT)
    show_cuts(result)
    say(f"report: {folder / RESULT}")
    return result


def fault_one(scenario: Scenario, options: Options, work: Path) -> FaultsResult:
    """Play a chain's fault matrix; what is in its folder from an earlier call is not played again."""
    folder = FOLDER / scenario.name
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{scenario.name}: every fault in every step")
    result = run_faults(scenario, options, Places(folder=folder, work=work, cache=cache_folder()), None, say)
    show_faults(result)
    say(f"report: {folder / FAULTS}")
    return result


def show_faults(result: FaultsResult) -> None:
    """Print the matrix, and how many were tried, survived and lost."""
    table = Table("", *Fault, title=f"{result.scenario}: what is there after a fault")
    for place, row in matrix(result.played):
        table.add_row(place, *(Text(text, "" if passed else "bold red") for text, passed in row))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(table)
    for item in result.played:
        if not item.passed:
            console.print(Text(f"{item.cell}: {item.said}", "red"))
    console.print(Text("passed", "green") if result.passed else Text("FAILED", "bold red"), summary(result.played))


def show_cuts(result: CutsResult) -> None:
    """Print what came up from how many states, what was wrong, and the boots."""
    table = Table(
        "",
        "writes",
        "flushes",
        "states",
        *Boots,
        title=f"{result.scenario}: power cuts, seed {result.seed}",
    )
    for phase in result.tallies:
        counts = (
            phase.writes,
            phase.flushes,
            phase.states,
            phase.old_system,
            phase.stage2,
            phase.new_system,
            phase.dead,
        )
        table.add_row(phase.phase, *map(str, counts))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(table)
    for wrong in result.wrong:
        console.print(Text(f"after {wrong.cut.after} {wrong.cut.kept}: {wrong.reason}", "red"))
    for check in result.boots:
        console.print(Text(f"booted {check.name}: {check.found}", "green" if check.passed else "bold red"))
    console.print(Text("passed", "green") if result.passed else Text("FAILED", "bold red"))


def show(result: Rehearsal) -> None:
    """Print the table of checks, and the figures."""
    table = Table("", "check", "expected", "found", title=f"{result.scenario}: {result.description}")
    for check in result.checks:
        mark = Text("ok", "green") if check.passed else Text("FAILED", "bold red")
        table.add_row(mark, *(Text(text) for text in (check.name, check.expected, check.found)))
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print(table)
    console.print(Text("passed", "green") if result.passed else Text("FAILED", "bold red"), figures(result))


def figures(result: Rehearsal) -> str:
    """The measurements, as one line."""
    parts = [
        f"{title} {value:.1f} s"
        for title, value in (("stage 1", result.stage1_s), ("stage 2", result.stage2_s), ("window", result.window_s))
        if value is not None
    ]
    parts += [
        f"{title} {value / MIB:.1f} MiB"
        for title, value in (("initramfs", result.initramfs_bytes), ("peak memory", result.peak_memory_bytes))
        if value is not None
    ]
    return ", ".join(parts)


def write_json(results: Sequence[Rehearsal | CutsResult | FaultsResult], file: Path) -> None:
    """Write the result of one scenario as an object, of several as a list."""
    data = to_json(results[0] if len(results) == 1 else list(results))
    file.write_text(json.dumps(data, indent=2) + "\n")
