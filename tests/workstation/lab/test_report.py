# SPDX-License-Identifier: Apache-2.0
"""The report of a rehearsal: complete, escaped, to scale, and readable on a wide and on a narrow screen."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.core.units import GIB, MIB
from balena_migrate.core.values import from_json
from balena_migrate.workstation.lab.report import (
    draw_disks,
    draw_timeline,
    format_time,
    render,
    write_report,
)
from balena_migrate.workstation.lab.result import Check, DiskPart, DiskState, Fact, Flash, Rehearsal, TimelineStep

HOSTILE = "<script>alert('x')</script> & \"quotes\""

REHEARSAL = Rehearsal(
    scenario="debian12-bios",
    description="A PC with Debian 12 becomes an intel-nuc",
    passed=False,
    checks=(
        Check(name="The new system reported", passed=True, expected="a report", found="a report"),
        Check(name="config.json", passed=False, expected="0b5e3c1f" * 8, found="nothing"),
    ),
    timeline=(
        TimelineStep(step="run", start_s=10, seconds=40),
        TimelineStep(step="secure", start_s=70, seconds=10),
        TimelineStep(step="flash", start_s=80, seconds=25, after_line=True),
        TimelineStep(step="new system", start_s=105, seconds=5),
    ),
    serial_logs=("console.log",),
    window_s=24.3,
    stage1_s=95.0,
    initramfs_bytes=41 * MIB,
    image_used_bytes=347 * MIB,
    flash=Flash(written_bytes=400 * MIB, write_s=16.0, read_back_s=10.0),
    disk_before=DiskState(
        size_bytes=8 * GIB, parts=(DiskPart(start_bytes=MIB, size_bytes=8 * GIB - MIB, fstype="ext4"),)
    ),
    disk_after=DiskState(
        size_bytes=8 * GIB,
        parts=(
            DiskPart(start_bytes=4 * MIB, size_bytes=40 * MIB, label="resin-boot", fstype="vfat", used_bytes=10 * MIB),
            DiskPart(start_bytes=GIB, size_bytes=7 * GIB, label="resin-data", fstype="ext4"),
        ),
    ),
    changes=("Write /etc/balena-migrate-stage2.conf",),
    machine=(Fact(name="Memory", value="1 GiB"),),
    accelerator="tcg,thread=multi",
)


class _Words(HTMLParser):
    """The text that a reader sees, and the names of all elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words = ""
        self.elements: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_both_files_are_written_and_the_json_reads_back_as_the_same_value(tmp_path: Path) -> None:
    page = write_report(REHEARSAL, tmp_path / "new")
    assert page == tmp_path / "new" / "report.html"
    data = json.loads((tmp_path / "new" / "report.json").read_text())
    assert from_json(Rehearsal, data) == REHEARSAL


def test_a_reader_finds_every_fact_on_the_page() -> None:
    words = _Words(render(REHEARSAL)).words
    for text in (
        *("Failed", "1 of 2 checks failed", "24.3 s", "1 min 35 s", "41 MiB"),
        *("347 MiB", "400 MiB", "25.0 MiB/s", "40.0 MiB/s"),
        *("0b5e3c1f" * 8, "nothing", "resin-boot", "resin-data", "The line", "flash", "25.0 s"),
        *("Write /etc/balena-migrate-stage2.conf", "Memory", "1 GiB", "tcg,thread=multi", "console.log"),
    ):
        assert text in words


def test_the_failed_proof_stands_before_the_others() -> None:
    page = render(REHEARSAL)
    assert page.index('<p class="name">config.json') < page.index('<p class="name">The new system reported')


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = render(REHEARSAL)
    assert not _Words(page).elements & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)


def test_everything_is_escaped() -> None:
    hostile = replace(
        REHEARSAL,
        scenario=HOSTILE,
        description=HOSTILE,
        checks=(Check(name=HOSTILE, passed=False, expected=HOSTILE, found=HOSTILE),),
        timeline=(TimelineStep(step=HOSTILE, start_s=0, seconds=1),),
        serial_logs=(HOSTILE,),
        disk_after=DiskState(
            size_bytes=GIB,
            parts=(DiskPart(start_bytes=0, size_bytes=GIB, label=HOSTILE, fstype=HOSTILE),),
        ),
        changes=(HOSTILE,),
        machine=(Fact(name=HOSTILE, value=HOSTILE),),
        accelerator=HOSTILE,
    )
    page = render(hostile)
    assert "script" not in _Words(page).elements
    assert _Words(page).words.count(HOSTILE) >= 11
    assert 'href="%3Cscript%3E' in page


def test_what_is_not_known_is_not_on_the_page() -> None:
    bare = Rehearsal(scenario="x", description="It broke", passed=False, checks=(), timeline=(), serial_logs=())
    words = _Words(render(bare)).words
    assert "The rehearsal did not finish" in words
    assert "Nothing could be checked" in words
    for heading in ("The disk", "The time line", "What stage 1 changed", "Serial logs", "Window", "In use", "Flashed"):
        assert heading not in words.replace("\n", " ")


def test_disks_are_drawn_to_scale_and_small_partitions_once_more_enlarged() -> None:
    before, after = draw_disks(REHEARSAL)
    assert not before.zoom
    boot, data = after.bars
    assert (boot.kind, data.kind) == ("boot", "data")
    assert boot.width == pytest.approx(1000 * 40 / 8192)
    assert data.x == pytest.approx(125)
    assert data.width == pytest.approx(875)
    assert (boot.used, data.used) == (0.25, None)
    assert after.zoom_bytes == GIB
    assert after.zoom_width == pytest.approx(125)
    assert after.zoom[0].width == pytest.approx(1000 * 40 / 1024)


def test_time_line_begins_with_the_first_step_and_crosses_the_line_once() -> None:
    bars = draw_timeline(tuple(reversed(REHEARSAL.timeline)))
    assert [bar.step.step for bar in bars] == ["run", "secure", "flash", "new system"]
    assert [bar.crosses for bar in bars] == [False, False, True, False]
    assert [bar.gone for bar in bars] == [False, False, True, True]
    assert (bars[0].x, bars[0].width) == (0, 400)
    assert bars[-1].x + bars[-1].width == pytest.approx(1000)
    assert draw_timeline(()) == ()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.97, "1 min 00 s"), (185, "3 min 05 s")]
)
def test_times_are_in_seconds_then_in_minutes(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


FRAME = """<!DOCTYPE html><body><iframe width="{width}" height="3000" srcdoc="{page}"></iframe><script>
onload = () => {{
  const seen = document.querySelector("iframe").contentDocument;
  const wide = [...seen.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > {width} + 1);
  document.body.textContent = `scroll=${{seen.documentElement.scrollWidth}} wide=${{wide.length}} `
    + `title=${{seen.querySelector("h1").getBoundingClientRect().height > 10}} `
    + `bars=${{[...seen.querySelectorAll("svg.disk")].every(e => e.getBoundingClientRect().width > {width} / 2)}}`;
}};
</script></body>"""


@pytest.mark.processes
@pytest.mark.long
@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_screen(width: int, tmp_path: Path) -> None:
    """A frame of that width holds the page, since a browser's own window cannot be as narrow as a telephone."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium")
    page = tmp_path / "frame.html"
    page.write_text(FRAME.format(width=width, page=html.escape(render(REHEARSAL))))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    seen = System().run([chromium, *options, "--dump-dom", f"file://{page}"], timeout_s=600).text
    assert f"scroll={width} wide=0 title=true bars=true" in seen
