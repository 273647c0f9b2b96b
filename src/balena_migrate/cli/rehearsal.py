# SPDX-License-Identifier: Apache-2.0
"""What `balena-migrate rehearse` runs and prints: a migration of a virtual device, checked at the end."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
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
from balena_migrate.workstation.lab.engine import Places, rehearse
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


def write_json(results: list[Rehearsal], file: Path) -> None:
    """Write the result of one scenario as an object, of several as a list."""
    data = to_json(results[0] if len(results) == 1 else results)
    file.write_text(json.dumps(data, indent=2) + "\n")
