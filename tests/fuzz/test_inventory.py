# SPDX-License-Identifier: Apache-2.0
"""The inventory names every public reader of the project, and nothing that is not there."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path

import balena_migrate
from balena_migrate.core.errors import MigrateError
from tests.fuzz.inventory import ELSEWHERE, READERS

ROOT = Path(balena_migrate.__file__).parent
READS = re.compile(r"(parse|decode|read)(_.*)?")
WORKSTATION = ("workstation/", "cli/")
"""What runs there reads nothing of a device's."""


@functools.cache
def public_readers() -> frozenset[str]:
    """All functions of modules that are named as those are which make sense of bytes or text."""
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT)
        if not place.as_posix().startswith(WORKSTATION):
            module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
            functions = (node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef))
            found |= {f"{module}.{node.name}" for node in functions if READS.fullmatch(node.name)}
    return frozenset(found)


def listed() -> set[str]:
    return {name for reader in READERS for name in (reader.name, *reader.covers)}


def test_each_public_reader_is_fuzzed_or_it_is_said_why_not() -> None:
    elsewhere = {name for name in public_readers() if name in ELSEWHERE or name.rpartition(".")[0] in ELSEWHERE}
    assert sorted(public_readers() - listed() - elsewhere) == []
    assert len(public_readers()) > 100


def test_nothing_is_in_the_inventory_twice_or_without_need() -> None:
    assert sorted(listed() & set(ELSEWHERE)) == []
    known = public_readers() | {name.rpartition(".")[0] for name in public_readers()}
    assert sorted(name for name in ELSEWHERE if name not in known) == []


def test_all_that_is_in_the_inventory_is_there() -> None:
    for name in listed():
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(f"{balena_migrate.__name__}.{module}"), function)), name


def test_readers_raise_what_the_mains_report_or_a_value_error() -> None:
    kinds = {kind for reader in READERS for kind in reader.raises}
    assert all(issubclass(kind, (MigrateError, ValueError)) for kind in kinds)
    assert len(kinds) > 5
