# SPDX-License-Identifier: Apache-2.0
"""Values to JSON and back: frozen dataclasses, enums, tuples, paths and bytes.

Both stages need this, and stage 2 imports only the standard library; hence this small module in place of a library.
Unknown keys and wrong types are errors that name the place.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import json
import types
from pathlib import PurePath
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError for any other, and for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def to_json(value: Any) -> Any:
    """Convert a value for json.dumps. Bytes become base64 strings, paths and enums strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def from_json(cls: type[T], data: Any, place: str = "$") -> T:
    """Convert the output of `to_json` back to a value of the type `cls`.

    Raises ValueError, which names the place in the data ("$.target.size_bytes: ...").
    """
    result: T = _build(cls, data, place)
    return result


def _build(kind: Any, data: Any, place: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return data
    if origin in (Union, types.UnionType):
        return _build_optional(kind, data, place)
    if origin is tuple:
        return _build_tuple(kind, data, place)
    if origin is dict:
        _expect(isinstance(data, dict), place, "an object", data)
        item_kind = get_args(kind)[1]
        return {key: _build(item_kind, item, f"{place}.{key}") for key, item in data.items()}
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, data, place)
    if issubclass(kind, (enum.Enum, PurePath)):
        _expect(isinstance(data, str), place, "text", data)
        try:
            return kind(data)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    if kind is bytes:
        return _build_bytes(data, place)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    _expect(type(data) is kind, place, f"a value of type {kind.__name__}", data)
    return data


def _build_optional(kind: Any, data: Any, place: str) -> Any:
    kinds = [item for item in get_args(kind) if item is not type(None)]
    if data is None and len(kinds) < len(get_args(kind)):
        return None
    _expect(len(kinds) == 1, place, "a union of one type and None", kind)
    return _build(kinds[0], data, place)


def _build_tuple(kind: Any, data: Any, place: str) -> tuple[Any, ...]:
    _expect(isinstance(data, (list, tuple)), place, "a list", data)
    kinds = get_args(kind)
    if len(kinds) == 2 and kinds[1] is ...:
        return tuple(_build(kinds[0], item, f"{place}[{i}]") for i, item in enumerate(data))
    _expect(len(kinds) == len(data), place, f"a list of {len(kinds)}", data)
    return tuple(_build(k, item, f"{place}[{i}]") for i, (k, item) in enumerate(zip(kinds, data, strict=True)))


def _build_bytes(data: Any, place: str) -> bytes:
    _expect(isinstance(data, str), place, "base64 text", data)
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise ValueError(f"{place}: not base64 text") from None


def _build_dataclass(kind: Any, data: Any, place: str) -> Any:
    _expect(isinstance(data, dict), place, "an object", data)
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ValueError(f"{place}: unknown key {unknown[0]!r}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _build(hints[name], data[name], f"{place}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{place}: key {name!r} is missing")
    return kind(**values)


def _expect(condition: bool, place: str, wanted: str, found: Any) -> None:  # noqa: FBT001  (as in an assertion)
    if not condition:
        raise ValueError(f"{place}: expected {wanted}, found {type(found).__name__}")
