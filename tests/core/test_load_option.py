# SPDX-License-Identifier: Apache-2.0
"""Boot options of UEFI firmware, with virt-firmware, which shares no code with us, as the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virt.firmware.efi.bootentry import BootEntry
from virt.firmware.efi.devpath import DevicePath, DevicePathElem
from virt.firmware.efi.ucs16 import from_string

from balena_migrate.core.load_option import HardDrive, LoadOption, command_line, dump_option, parse_option

GUID = "0b7b3a50-1f4f-4fb7-8f5a-40b3a8c2d901"
ESP = HardDrive(number=3, start_lba=2048, sectors=1_048_576, partuuid=GUID)
ARGUMENTS = command_line("initrd=\\EFI\\x\\initrd root=UUID=1 ro panic=30")
OPTION = LoadOption(label="depot ü", hard_drive=ESP, file="\\EFI\\x\\vmlinuz.efi", arguments=ARGUMENTS)


def foreign_option() -> bytes:
    drive, file, controller = DevicePathElem(), DevicePathElem(), DevicePathElem()
    controller.devtype, controller.subtype, controller.data = 2, 1, bytes(8)
    drive.set_gpt(3, 2048, 1_048_576, GUID)
    file.set_filepath("\\EFI\\x\\vmlinuz.efi")
    path = DevicePath()
    for node in (controller, drive, file):
        path.append(node)
    return bytes(BootEntry(attr=1, title=from_string("depot ü"), devicepath=path, optdata=ARGUMENTS))


def test_another_reader_finds_in_our_option_what_was_put_there() -> None:
    entry = BootEntry(data=dump_option(OPTION))
    drive, file = entry.devicepath
    assert (entry.attr, str(entry.title), entry.optdata) == (1, "depot ü", ARGUMENTS)
    assert str(drive.get_partuuid()) == GUID
    assert str(file.get_filepath()) == "\\EFI\\x\\vmlinuz.efi"
    expected = DevicePathElem()
    expected.set_gpt(3, 2048, 1_048_576, GUID)
    assert bytes(drive) == bytes(expected)


def test_an_option_of_another_writer_is_read_also_with_a_controller_before_its_partition() -> None:
    found = parse_option(foreign_option())
    assert found.label == "depot ü" and found.arguments == ARGUMENTS
    assert found.hard_drive == ESP
    assert found.file == "EFI\\x\\vmlinuz.efi"


def test_a_partition_of_an_mbr_is_known_by_the_id_of_its_table() -> None:
    drive = HardDrive(number=1, start_lba=8192, sectors=81920, partuuid="5a3c91e7-01")
    value = dump_option(LoadOption(label="x", hard_drive=drive, file="\\y"))
    node = BootEntry(data=value).devicepath[0]
    assert bytes(node)[24:42] == bytes.fromhex("e7913c5a") + bytes(12) + b"\x01\x01"
    assert parse_option(value).hard_drive == drive


def test_an_option_that_names_no_partition_has_none() -> None:
    assert parse_option(dump_option(LoadOption(label="shell", hard_drive=None, file="\\shell.efi"))).hard_drive is None


@pytest.mark.parametrize("length", range(len(dump_option(OPTION)) - len(ARGUMENTS)))
def test_an_option_that_is_cut_short_is_no_option(length: int) -> None:
    with pytest.raises(ValueError, match=r"short|end|damaged"):
        parse_option(dump_option(OPTION)[:length])


@given(st.binary(max_size=300))
def test_what_is_no_option_ends_in_a_value_error(value: bytes) -> None:
    try:
        parse_option(value)
    except ValueError:
        return


@given(st.integers(0, len(foreign_option()) - 1), st.integers(0, 255))
def test_an_option_with_a_wrong_byte_is_read_or_refused(place: int, byte: int) -> None:
    value = bytearray(foreign_option())
    value[place] = byte
    try:
        parse_option(bytes(value))
    except ValueError:
        return
