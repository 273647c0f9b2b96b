# SPDX-License-Identifier: Apache-2.0
"""Facts and images for a person: aligned text, sizes, and a layout to scale."""

from __future__ import annotations

import re
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given

from balena_migrate.cli.sections import Section, draw_layout, facts_sections, format_sections
from balena_migrate.facts import ClockFacts
from balena_migrate.images.partitions import Partition
from tests.support.facts import pc_facts


def partition(number: int, start: int, size: int, kind: str = "83") -> Partition:
    return Partition(number=number, start_bytes=start, size_bytes=size, type=kind)


def test_a_layout_is_drawn_to_scale() -> None:
    partitions = (partition(1, 10, 20), partition(2, 30, 50), partition(4, 80, 20, "0f"), partition(5, 90, 10))
    assert draw_layout(100, partitions, 50) == "....." + "1---------" + "2" + 24 * "-" + "....." + "5----"


@given(st.lists(st.integers(min_value=1, max_value=10**9), min_size=1, max_size=12), st.integers(0, 10**9))
def test_every_partition_is_in_the_picture_however_small(sizes: list[int], gap: int) -> None:
    starts = [gap + sum(sizes[:index]) for index in range(len(sizes))]
    partitions = [partition(i + 1, start, size) for i, (start, size) in enumerate(zip(starts, sizes, strict=True))]
    drawn = draw_layout(gap + sum(sizes), partitions, 60)
    assert len(drawn) == 60
    assert "".join(re.findall("[0-9]", drawn)) == "".join(str(index + 1) for index in range(len(sizes)))


def test_columns_are_aligned_empty_sections_left_out_and_names_cannot_steer_the_terminal() -> None:
    sections = (
        Section(title="A", rows=(("x", "1"), ("long", "2\x1b[2J"))),
        Section(title="B", rows=()),
        Section(title="C", rows=(("y",),)),
    )
    assert format_sections(sections) == "A\n  x     1\n  long  2\ufffd[2J\n\nC\n  y"


def test_facts_of_a_device() -> None:
    text = format_sections(facts_sections(pc_facts(separate_boot=True)))
    assert "  system        Debian GNU/Linux 12 (bookworm)\n" in text
    assert "  memory        2 GiB, 1.76 GiB available\n" in text
    assert re.search(r"  sda +disk  8 GiB +dos table", text)
    assert re.search(r"  /boot +/dev/sda2  ext4", text)
    assert "Facts(" not in text and "model" not in text


def test_the_clock_of_a_device() -> None:
    facts = replace(pc_facts(), clock=ClockFacts(now_s=1764000000, written_s=1763000000, written="/etc/machine-id"))
    assert "  clock         2025-11-24 16:00 UTC\n" in format_sections(facts_sections(facts))
    unset = replace(facts, clock=replace(facts.clock, now_s=60))
    said = "1970-01-01 00:01 UTC, but /etc/machine-id was written on 2025-11-13 02:13 UTC\n"
    assert said in format_sections(facts_sections(unset))
