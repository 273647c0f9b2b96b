# SPDX-License-Identifier: Apache-2.0
"""Writes a rehearsal's report: report.json for programs, report.html for people.

The page is self-contained: no script, no font and no image is loaded; it can be printed and mailed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from balena_migrate.core.units import MIB, format_size
from balena_migrate.core.values import to_json
from balena_migrate.workstation.lab.result import DiskPart, DiskState, Rehearsal, TimelineStep

JSON_NAME = "report.json"
HTML_NAME = "report.html"

_LARGEST_ZOOM = 0.5
"""A span that covers more of the disk than this is not drawn enlarged."""
_KNOWN_KINDS = {
    "resin-boot": "boot",
    "resin-rootA": "root-a",
    "resin-rootB": "root-b",
    "resin-state": "state",
    "resin-data": "data",
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A partition as drawn: position and width in thousandths of the drawing, `used` as a fraction of the width."""

    part: DiskPart
    kind: str
    x: float
    width: float
    used: float | None


@dataclass(frozen=True, kw_only=True)
class DiskDrawing:
    """A disk to scale. If its first partitions are too small to be visible, `zoom` shows them enlarged.

    The enlarged span starts at the beginning of the disk and covers `zoom_width` thousandths of it.
    """

    title: str
    state: DiskState
    bars: tuple[Bar, ...]
    zoom: tuple[Bar, ...] = ()
    zoom_width: float = 0
    zoom_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class TimeBar:
    """A step as drawn: position and width in thousandths of the total time."""

    step: TimelineStep
    x: float
    width: float
    gone: bool
    """Whether the old system was already gone when it started."""
    crosses: bool
    """Whether it is the first step after the line."""


def write_report(rehearsal: Rehearsal, folder: Path) -> Path:
    """Write report.json and report.html into the folder; return the path of report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_json(rehearsal), indent=2, ensure_ascii=False)
    (folder / JSON_NAME).write_text(text + "\n", encoding="utf-8")
    page = folder / HTML_NAME
    page.write_text(render(rehearsal), encoding="utf-8")
    return page


def render(rehearsal: Rehearsal) -> str:
    """The HTML page. Everything that comes from the rehearsal is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("balena_migrate.workstation.lab", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": format_size, "time": format_time, "rate": format_rate}
    return environment.get_template("report.html").render(
        rehearsal=rehearsal,
        failed=[check for check in rehearsal.checks if not check.passed],
        disks=draw_disks(rehearsal),
        timeline=draw_timeline(rehearsal.timeline),
    )


def draw_disks(rehearsal: Rehearsal) -> tuple[DiskDrawing, ...]:
    """The disk before and after, where known."""
    states = (("Before", rehearsal.disk_before), ("After", rehearsal.disk_after))
    return tuple(_draw_disk(title, state) for title, state in states if state)


def _draw_disk(title: str, state: DiskState) -> DiskDrawing:
    bars = _bars(state.parts, state.size_bytes)
    drawing = DiskDrawing(title=title, state=state, bars=bars)
    if not state.parts:
        return drawing
    largest = max(state.parts, key=lambda part: part.size_bytes)
    small = tuple(part for part in state.parts if part.start_bytes < largest.start_bytes)
    if not small or largest.start_bytes > state.size_bytes * _LARGEST_ZOOM:
        return drawing
    return DiskDrawing(
        title=title,
        state=state,
        bars=bars,
        zoom=_bars(small, largest.start_bytes),
        zoom_width=1000 * largest.start_bytes / state.size_bytes,
        zoom_bytes=largest.start_bytes,
    )


def _bars(parts: Sequence[DiskPart], whole_bytes: int) -> tuple[Bar, ...]:
    return tuple(
        Bar(
            part=part,
            kind=_KNOWN_KINDS.get(part.label, "other"),
            x=1000 * part.start_bytes / whole_bytes,
            width=1000 * part.size_bytes / whole_bytes,
            used=None if part.used_bytes is None else min(1.0, part.used_bytes / max(1, part.size_bytes)),
        )
        for part in parts
    )


def draw_timeline(steps: Sequence[TimelineStep]) -> tuple[TimeBar, ...]:
    """The steps in the order in which they started, on one scale."""
    ordered = sorted(steps, key=lambda step: step.start_s)
    begin = min((step.start_s for step in ordered), default=0.0)
    whole = max((step.start_s + step.seconds for step in ordered), default=0.0) - begin or 1.0
    first_after = next((step for step in ordered if step.after_line), None)
    return tuple(
        TimeBar(
            step=step,
            x=1000 * (step.start_s - begin) / whole,
            width=1000 * step.seconds / whole,
            gone=first_after is not None and step.start_s >= first_after.start_s,
            crosses=step is first_after,
        )
        for step in ordered
    )


def format_rate(size_bytes: int, seconds: float) -> str:
    """The speed as "20.3 MiB/s"."""
    return f"{size_bytes / MIB / max(seconds, 0.001):.1f} MiB/s"


def format_time(seconds: float) -> str:
    """The duration as "4.2 s" if it is below a minute, else as "3 min 05 s"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
