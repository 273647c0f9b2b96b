# SPDX-License-Identifier: Apache-2.0
"""Variables of UEFI firmware as files, in a folder in place of efivarfs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from balena_migrate.core.changes import ActionName, Undo, WriteVariable, take_back
from balena_migrate.core.efi_variables import (
    EFIVARS,
    FULL_HINT,
    dump_numbers,
    find_options,
    find_order,
    find_value,
    find_variable,
    option_path,
    parse_numbers,
    variable_name,
    variable_path,
    write_variable,
)
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System

ATTRIBUTES = b"\7\0\0\0"
BOOT_NEXT = variable_path("BootNext")


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / EFIVARS.lstrip("/")).mkdir(parents=True)
    return System(tmp_path)


def put(system: System, name: str, value: bytes) -> None:
    (system.root / variable_path(name).lstrip("/")).write_bytes(ATTRIBUTES + value)


def test_a_new_variable_is_removed_by_its_undo(system: System) -> None:
    change = WriteVariable(name=ActionName.BOOT_NEXT, title="", path=BOOT_NEXT, value=b"\xba\0")
    record = change.capture(system)
    change.apply(system)
    assert system.read_bytes(BOOT_NEXT) == ATTRIBUTES + b"\xba\0"
    assert record.undo is Undo.REMOVE_VARIABLE and record.is_variable
    assert record.describe() == "remove the firmware's variable BootNext"
    for _ in range(2):
        take_back(system, record)
        assert not system.exists(BOOT_NEXT)


def test_a_variable_that_was_there_gets_its_value_and_its_attributes_again(system: System) -> None:
    (system.root / BOOT_NEXT.lstrip("/")).write_bytes(b"\6\0\0\0\1\0")
    change = WriteVariable(name=ActionName.BOOT_NEXT, title="", path=BOOT_NEXT, value=b"\xba\0")
    record = change.capture(system)
    change.apply(system)
    assert find_value(system, "BootNext") == b"\xba\0"
    for _ in range(2):
        take_back(system, record)
        assert system.read_bytes(BOOT_NEXT) == b"\6\0\0\0\1\0"


def test_only_boot_options_count_as_such(system: System) -> None:
    for name in ("Boot0000", "Boot00BA", "BootOrder", "BootCurrent", "Boot00ba", "Boot000", "OsIndications"):
        put(system, name, b"x")
    assert find_options(system) == {0: b"x", 0xBA: b"x"}
    assert option_path(0xBA) == variable_path("Boot00BA")
    assert variable_name(option_path(0xBA)) == "Boot00BA"


def test_a_variable_that_is_cut_short_is_named_and_as_an_option_has_no_value(system: System) -> None:
    for path in (option_path(1), variable_path("BootOrder")):
        (system.root / path.lstrip("/")).write_bytes(b"\7\0\0")
    with pytest.raises(FileError, match=r"Boot0001.*cut short"):
        find_variable(system, option_path(1))
    assert find_options(system) == {1: b""}
    assert find_order(system) == ()


def test_what_the_firmware_does_not_take_leaves_no_empty_file(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(FileError, match="No space left"):
        write_variable(system, option_path(2), ATTRIBUTES)
    assert not system.exists(option_path(2))
    put(system, "Boot0003", b"x")
    with pytest.raises(FileError, match="No space left"):
        write_variable(system, option_path(3), ATTRIBUTES)
    assert system.exists(option_path(3)), "one that was there stays"


def test_a_full_store_says_what_to_do() -> None:
    with pytest.raises(FileError) as raised:
        write_variable(System("/"), "/dev/full", b"x")
    assert raised.value.hint == FULL_HINT


@pytest.mark.parametrize(("value", "numbers"), [(b"", ()), (b"\1", ()), (b"\1\0\xba\0", (1, 0xBA)), (b"\1\0\2", (1,))])
def test_numbers_are_little_endian_and_a_byte_too_many_is_none(value: bytes, numbers: tuple[int, ...]) -> None:
    assert parse_numbers(value) == numbers
    assert parse_numbers(dump_numbers(numbers)) == numbers
