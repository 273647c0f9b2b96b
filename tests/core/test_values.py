# SPDX-License-Identifier: Apache-2.0
"""Values go to JSON and back unchanged, and bad data names its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

import pytest

from balena_migrate.core.values import from_json, to_json


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Inner:
    path: PurePosixPath
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Outer:
    colour: Colour
    inner: tuple[Inner, ...]
    pair: tuple[int, str]
    names: dict[str, int]
    place: Path
    nothing: str | None = None
    ratio: float = 0.5


VALUE = Outer(
    colour=Colour.RED,
    inner=(Inner(path=PurePosixPath("/etc/x"), content=b"\0\xff"),),
    pair=(1, "a"),
    names={"one": 1},
    place=Path("/srv/\udcff"),
)


def test_a_value_survives_json() -> None:
    assert from_json(Outer, json.loads(json.dumps(to_json(VALUE)))) == VALUE


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"colour": "blue"}, "$.colour"),
        ({"colour": 1}, "$.colour"),
        ({"inner": {}}, "$.inner"),
        ({"inner": [{"path": "/x", "content": "?"}]}, "$.inner[0].content"),
        ({"inner": [{"path": "/x"}]}, "$.inner[0]"),
        ({"pair": [1]}, "$.pair"),
        ({"pair": [True, "a"]}, "$.pair[0]"),
        ({"names": {"one": "1"}}, "$.names.one"),
        ({"nothing": 1}, "$.nothing"),
        ({"more": 1}, "$: unknown key"),
        ({"ratio": "0.5"}, "$.ratio"),
    ],
)
def test_bad_data_names_its_place(change: dict[str, object], place: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        from_json(Outer, {**to_json(VALUE), **change})
    assert str(caught.value).startswith(place)


def test_a_whole_number_is_a_float_too() -> None:
    assert from_json(Outer, {**to_json(VALUE), "ratio": 2}).ratio == 2.0
