# SPDX-License-Identifier: Apache-2.0
"""What is printed: JSON, findings, and what goes on meanwhile; bars at a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from balena_migrate.core.progress import Report
from balena_migrate.core.units import in_mib
from balena_migrate.core.values import to_json
from balena_migrate.findings import Finding, Severity

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class ErrorOutput:
    """What any verb prints in place of its own document where it fails; the exit status says the same."""

    error: str
    """What failed, and why."""
    hint: str = ""
    """What to do next."""
    exit_status: int
    """1 refused, 2 wrong use, 3 failed and nothing is left changed, 4 failed and not rolled back."""
    findings: tuple[Finding, ...] = ()
    """All findings, where one of them prevents the migration."""
    format: int = 1


@dataclass
class Session:
    """What holds for one call of the command."""

    as_json: bool = False


LOG = logging.getLogger(__name__)

PLAIN_PAUSE_S = 10.0
STYLES = {Severity.BLOCKER: "bold red", Severity.WARNING: "yellow", Severity.OK: "green"}


def out() -> Console:
    """What the user asked for goes to standard output."""
    from rich.console import Console

    return Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty(), highlight=False)


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey: files and networks may have any name."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(to_json(value), indent=2))


def print_table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A table at a terminal; elsewhere a line for each row, its cells separated by tabs."""
    console = out()
    if not console.is_terminal:
        for row in rows:
            click.echo("\t".join(map(printable, row)))
        return
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(title, overflow="fold") for title in titles))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def show_findings(findings: tuple[Finding, ...]) -> None:
    """All findings, the worst first: at a terminal below each other and wrapped, elsewhere one line each."""
    order = list(Severity)
    findings = tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))
    console = out()
    if not console.is_terminal:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            click.echo(printable(f"{finding.severity.upper():8} {finding.code}: {finding.cause}{remedy}"))
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        text = Text.assemble((finding.code, "bold"), ": ", printable(finding.cause))
        if finding.remedy:
            text.append(f"\n-> {printable(finding.remedy)}")
        grid.add_row(Text(finding.severity.upper(), style=STYLES[finding.severity]), text)
    console.print(grid)


def say(text: str) -> None:
    """One line about what goes on now, on standard error and in the log. A terminal that is gone does not stop us."""
    LOG.info("%s", text)
    with contextlib.suppress(OSError):
        click.echo("\n".join(map(printable, text.splitlines())), err=True)


@contextlib.contextmanager
def progress(title: str) -> Iterator[Report]:
    """A function to report progress to: a bar at a terminal that can move its cursor, a line now and then elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield _plain(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr, highlight=False), transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _plain(title: str) -> Report:
    last_s = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= PLAIN_PAUSE_S:
            last_s = time.monotonic()
            percent = f"{100 * done // total} % of " if total else ""
            say(f"{title}: {percent}{in_mib(total or done)}")

    return report
