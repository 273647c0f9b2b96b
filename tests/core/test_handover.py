# SPDX-License-Identifier: Apache-2.0
"""The hand-over survives its file, and a damaged one is refused."""

from __future__ import annotations

import json

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.handover import (
    dump_handover,
    parse_handover,
)
from tests.support.handover import HANDOVER


def test_it_survives_its_file() -> None:
    assert parse_handover(dump_handover(HANDOVER).decode()) == HANDOVER


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", dump_handover(HANDOVER).decode()[:-20]])
def test_a_damaged_file_is_refused(text: str) -> None:
    with pytest.raises(FileError, match=r"stage2\.conf"):
        parse_handover(text)


def test_another_format_is_named() -> None:
    data = json.loads(dump_handover(HANDOVER))
    with pytest.raises(FileError, match="format 1 is unknown"):
        parse_handover(json.dumps({**data, "format": 1}))
