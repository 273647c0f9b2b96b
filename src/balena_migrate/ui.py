# SPDX-License-Identifier: Apache-2.0
"""What a person sees: findings, the plan and progress; bars at a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from balena_migrate.findings import Finding, Severity

LOG = logging.getLogger(__name__)

Report = Callable[[int, int], None]
"""report(done_bytes, total_bytes), called as often as the work likes."""

PLAIN_PAUSE_S = 10.0
STYLES = {Severity.BLOCKER: "bold red", Severity.WARNING: "yellow", Severity.OK: "green"}


def out() -> Console:
    """What the user asked for goes to standard output."""
    return Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty(), highlight=False)


def err() -> Console:
    """What goes on meanwhile goes to standard error."""
    return Console(file=sys.stderr, soft_wrap=not sys.stderr.isatty(), highlight=False)


def printable(text: str) -> str:
    """Without signs that a terminal takes for commands: files and networks of the old system may be called anything."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def show_findings(findings: tuple[Finding, ...]) -> None:
    """All findings, the worst first: a table at a terminal, one line each elsewhere."""
    order = list(Severity)
    findings = tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))
    console = out()
    if not console.is_terminal:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            line = f"{finding.severity.upper():8} {finding.code}: {finding.cause}{remedy}"
            console.print(Text(printable(line)))
        return
    table = Table("", "finding", "cause", "what to do", expand=True)
    for finding in findings:
        style = STYLES[finding.severity]
        cells = (finding.severity.value, finding.code, finding.cause, finding.remedy)
        table.add_row(Text(cells[0], style=style), *(Text(printable(cell)) for cell in cells[1:]))
    console.print(table)


def say(text: str) -> None:
    """One line about what goes on now, also in the log. A terminal that is gone is no reason to stop."""
    LOG.info("%s", text)
    with contextlib.suppress(OSError):
        err().print(Text(text))


@contextlib.contextmanager
def progress(title: str) -> Iterator[Report]:
    """A function to report progress to: a bar at a terminal, a line now and then elsewhere."""
    console = err()
    if not console.is_terminal:
        yield _plain(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _plain(title: str) -> Report:
    last_s = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= PLAIN_PAUSE_S:
            last_s = time.monotonic()
            percent = f"{100 * done // total} % of " if total else ""
            say(f"{title}: {percent}{(total or done) >> 20} MiB")

    return report
