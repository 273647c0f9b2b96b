# SPDX-License-Identifier: Apache-2.0
"""Damaged samples: each reader ends with a result or an error that it documents, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.damage import EDITS, Edit, damaged, fixed
from tests.fuzz.inventory import READERS
from tests.fuzz.limits import bounded
from tests.fuzz.reader import Reader

QUICK_COUNT, COUNT = 24, 200
"""Examples for a reader that takes no time; `--hypothesis-profile=fuzz` says how many others are tried."""
SLOW = 100
"""Readers of whole images, by their cost: `./test --quick` leaves them out."""


def _case(number: int, reader: Reader) -> ParameterSet:
    marks = [pytest.mark.processes] * reader.programs + [pytest.mark.long] * (reader.cost >= SLOW)
    return pytest.param(reader, marks=marks, id=f"{reader.name}-{number}")


CASES = [_case(number, reader) for number, reader in enumerate(READERS)]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Reader], Sequence[bytes]]:
    """The samples of a reader, each made once."""
    made: dict[int, Sequence[bytes]] = {}

    def samples_of(reader: Reader) -> Sequence[bytes]:
        if id(reader) not in made:
            made[id(reader)] = reader.samples(tmp_path_factory.mktemp("samples"))
        return made[id(reader)]

    return samples_of


def read(reader: Reader, content: bytes, folder: Path) -> None:
    with bounded(), suppress(*reader.raises):
        reader.read(content, folder)


def fuzz(reader: Reader, found: Sequence[bytes], folder: Path, chosen: settings) -> None:
    """As many examples as these settings say."""

    @chosen
    @given(edits=EDITS, choice=st.integers(0, len(found) - 1), mend=st.booleans())
    def check(edits: list[Edit], choice: int, mend: bool) -> None:
        content = damaged(found[choice], edits)
        read(reader, reader.mended(content) if mend and reader.mended else content, folder)

    check()


@pytest.mark.parametrize("reader", CASES)
def test_a_whole_sample_is_read(reader: Reader, samples: Any, tmp_path: Path) -> None:
    """Else there would be nothing to damage."""
    for sample in samples(reader):
        with bounded():
            reader.read(sample, tmp_path)


@pytest.mark.parametrize("reader", CASES)
def test_a_damaged_sample_is_read_or_refused(reader: Reader, samples: Any, tmp_path: Path) -> None:
    fuzz(reader, samples(reader), tmp_path, fixed(max(1, QUICK_COUNT // reader.cost)))


@pytest.mark.long
@pytest.mark.parametrize("reader", CASES)
def test_more_damaged_samples_are_read_or_refused(reader: Reader, samples: Any, tmp_path: Path) -> None:
    chosen, profile = fixed(COUNT // reader.cost), settings.get_profile("fuzz")
    if settings.default is profile:
        chosen = settings(max_examples=profile.max_examples // reader.cost)
    fuzz(reader, samples(reader), tmp_path, chosen)
