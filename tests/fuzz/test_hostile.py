# SPDX-License-Identifier: Apache-2.0
"""Input that is large or deep on purpose: what a reader costs grows with its length, and no faster."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from balena_migrate.core.units import KIB
from tests.fuzz.inventory import READERS
from tests.fuzz.limits import bounded
from tests.fuzz.reader import Reader

LENGTH_BYTES = 32 * KIB
"""Of hostile text in `./test`; with the profile fuzz as much as ever gets to the reader."""
COUNT = 12
CPU_S_PER_KIB = 0.03
"""Generous: the slowest of them, PyYAML, takes a tenth of it."""

UNITS = (
    *(
        "a",
        " ",
        "\n",
        "\t",
        "9",
        "=",
        "a=",
        "a=b\n",
        "a b\n",
        "#",
        "\0",
        "\\",
        "\\\n",
        '"',
        "'",
        '"\\',
        "'\\",
        "\"'",
        "é",
    ),
    *("[", "]", "{", "}", "(", "[{", '{"a":', "[[", "a: ", "- ", "- a\n", "? ", "&a ", "*a ", "!a ", "<", "<a>", "/*"),
    *(
        "if a\n",
        "else\n",
        "if a\nb\n",
        "${",
        "${a}",
        "a ",
        "a;",
        ";",
        ",",
        "a,",
        ":",
        "1:",
        ".",
        "1.",
        "-",
        "\r",
        "\\x",
    ),
    *("interface ", 'interface "a" {', "lease {", "options {", "forwarders {", "server {", "server=\n", "network={\n"),
    *("Raspberry Pi ", " Rev 1", " IO board", "SSID: ", "Revision:", "export a=", "redsocks {", "include extra.txt\n"),
    *(
        "[a]\na=1\n",
        "[gpio1=1]\na=1\n",
        "softdep a pre: b\n",
        "options a b\n",
        "alias a b\n",
        "NTP=a\n",
        "\x85",
        "\udc80",
    ),
)
"""What hostile text repeats."""
NUMBERED = (
    *(
        "a{}=b\n",
        "[gpio{}=1]\na=1\n",
        "[g{}]\na=b\n",
        "a{}: b\n",
        '"a{}": 1, ',
        "set a{0}=$a{0}$a{0}\n",
        "k{}.ko: k{}.ko\n",
    ),
    *("interface eth{}\nstatic a=b\n", "iface eth{} inet dhcp\n", "softdep k{} pre: k{} k{}\n", "server=1.2.3.{}\n"),
)
"""The same with another number each time."""
HOSTILE: tuple[tuple[str, Callable[[int], str]], ...] = (
    *((unit, lambda length, unit=unit: unit * (length // len(unit))) for unit in UNITS),
    *((unit, lambda length, unit=unit: _numbered(unit, length)) for unit in NUMBERED),
)


def _numbered(unit: str, length: int) -> str:
    parts: list[str] = []
    size = number = 0
    while size < length:
        parts.append(unit.format(number, number + 1, number + 2))
        size, number = size + len(parts[-1]), number + 1
    return "".join(parts)


def around(sample: bytes, text: bytes) -> Iterator[bytes]:
    """The text alone, and in the midst of a valid sample."""
    yield text
    middle = sample.find(b"=") + 1 or len(sample) // 2
    yield sample[:middle] + text + sample[middle:]


TEXTS = [reader for reader in READERS if reader.is_text]


@pytest.mark.long
@pytest.mark.parametrize("reader", TEXTS, ids=lambda reader: reader.name)
def test_long_and_deep_text_takes_time_by_its_length_only(reader: Reader, tmp_path: Path) -> None:
    """`./test` tries some for each reader, always the same; with the profile fuzz it is all of them, at full length."""
    length, chosen = min(LENGTH_BYTES, reader.limit_bytes), random.Random(reader.name).sample(HOSTILE, COUNT)
    if settings.default is settings.get_profile("fuzz"):
        length, chosen = reader.limit_bytes, list(HOSTILE)
    sample = reader.samples(tmp_path)[0]
    for name, make in chosen:
        text = make(length).encode("utf-8", "surrogateescape")
        for content in around(sample, text):
            try:
                with bounded(cpu_s=CPU_S_PER_KIB * reader.cost * length / KIB), suppress(*reader.raises):
                    reader.read(content[:length], tmp_path)
            except Exception as error:
                raise AssertionError(f"{name!r} * {length}: {error!r}") from error
