# SPDX-License-Identifier: Apache-2.0
"""What the fuzz has found: each situation, and what is right in it."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.bootloaders.grub.script import NESTING_LIMIT, statements
from balena_migrate.bootloaders.raspberrypi.board import Model, parse_model
from balena_migrate.bootloaders.raspberrypi.config_txt import UnclearError, edit, evaluate
from balena_migrate.carried.backup.supervisor import LATER, find_supervisor
from balena_migrate.carried.backup.volumes import parse_volumes
from balena_migrate.core.changes import Undo, UndoRecord
from balena_migrate.core.errors import ConfigError, FileError, ImageError, JournalError, NetworkConfigError
from balena_migrate.core.handover import parse_handover
from balena_migrate.core.journal import Entry, Event, parse_journal
from balena_migrate.core.memory import parse_meminfo
from balena_migrate.core.mountinfo import mounts_below, parse_mountinfo
from balena_migrate.core.os_version import parse_version
from balena_migrate.core.paths import STAGE2_RESULT
from balena_migrate.core.stage2_result import find_stage2_result
from balena_migrate.core.system import System
from balena_migrate.core.units import KIB
from balena_migrate.core.values import to_json
from balena_migrate.facts import DiskFacts
from balena_migrate.facts.disks import parse_lsblk
from balena_migrate.facts.efi import PLATFORM_SIZE, read_efi
from balena_migrate.facts.network import RTM_NEWADDR, parse_addresses
from balena_migrate.images.filesystems.ext_files import ExtFiles
from balena_migrate.images.filesystems.fat import FOLDER_LIMIT_BYTES, Fat
from balena_migrate.images.flasher import without_installer
from balena_migrate.images.partitions import Partition
from balena_migrate.images.passes import opened
from balena_migrate.images.scan import read_image
from balena_migrate.initramfs._cpio import read_names
from balena_migrate.initramfs.composed.kernel_config import RUNNING, read_kernel_config
from balena_migrate.initramfs.composed.kernel_modules import KernelModules, read_module
from balena_migrate.network.proxy import parse_environment, parse_redsocks
from tests.fuzz import device, disks
from tests.fuzz.limits import bounded
from tests.support.boards import BOARDS
from tests.support.images import ESP, gpt_image
from tests.support.tables import with_right_sums

DEEP = "[" * 100_000


# JSON ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda: parse_handover(DEEP), FileError),
        (lambda: parse_journal(f"{DEEP}\n"), JournalError),
        (lambda: without_installer(DEEP.encode()), ImageError),
        (lambda: parse_lsblk(DEEP), ValueError),
    ],
    ids=["hand-over", "journal", "flasher's config.json", "lsblk"],
)
def test_json_that_is_nested_without_end_is_damaged(read: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error, match="nested too deeply"):
        read()


def test_a_result_of_stage_2_that_is_nested_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / STAGE2_RESULT.lstrip("/")).parent.mkdir(parents=True)
    (tmp_path / STAGE2_RESULT.lstrip("/")).write_text(DEEP)
    with pytest.raises(FileError, match="nested too deeply"):
        find_stage2_result(System(tmp_path))


def test_an_intent_in_the_journal_without_its_undo_record_is_damage() -> None:
    """Undo would have stopped at it with a traceback, and left the others in place."""
    record = UndoRecord(undo=Undo.REMOVE, path="/a")
    entry = Entry(event=Event.INTENT, number=1, record=record)
    assert parse_journal(json.dumps(to_json(entry)) + "\n").pending
    with pytest.raises(JournalError, match="without its undo record"):
        parse_journal(json.dumps(to_json(replace(entry, record=None))) + "\n")


@pytest.mark.parametrize(
    "output", ["[]", '{"blockdevices": 1}', '{"blockdevices": [1]}', '{"blockdevices": [{"size": [1]}]}']
)
def test_json_that_is_no_output_of_lsblk(output: str) -> None:
    with pytest.raises(ValueError, match="lsblk"):
        parse_lsblk(output)


# Numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["²", "9" * 5000])
def test_memory_that_is_no_number_is_none(number: str) -> None:
    """Python calls ² a digit, and makes no number of more than 4300 digits."""
    assert parse_meminfo(f"MemTotal: {number} kB\n").total_bytes == 0


def test_firmware_whose_size_is_no_number_has_none(tmp_path: Path) -> None:
    for path, text in ((PLATFORM_SIZE, "²"), ("/proc/self/mountinfo", "")):
        (tmp_path / path.lstrip("/")).parent.mkdir(parents=True)
        (tmp_path / path.lstrip("/")).write_text(text)
    assert read_efi(System(tmp_path), DiskFacts(devices=(), mounts=()), "/vmlinuz").bits == 0


def test_a_version_of_thousands_of_digits_is_none() -> None:
    assert parse_version("9" * 5000 + ".1.1") is None
    assert find_supervisor("", f"x-v{'9' * 5000}.1.1.img") == ((0, 0, 0), LATER)


@pytest.mark.parametrize("rest", [" Rev 1." + "1" * 5000, " Rev " + "1" * 5000 + "x"])
def test_a_model_of_thousands_of_characters_takes_no_time(rest: str) -> None:
    with bounded(cpu_s=1):
        parse_model(f"Raspberry Pi 4 Model B{rest}", ("brcm,bcm2711",))


@pytest.mark.parametrize("size", [b"-0000074", b" 0000074", b"0_000074", b"+0000074"])
def test_a_size_in_an_initramfs_that_has_a_sign_leads_nowhere(size: bytes) -> None:
    """The negative one led back to the archive's start, again and again."""
    content = bytearray(device.archive())
    content[54:62] = size
    with bounded(cpu_s=1), pytest.raises(ValueError, match="number"):
        list(read_names(io.BytesIO(content)))


# Circles ------------------------------------------------------------------------------------------------------------


def test_mounts_that_are_on_each_other_end() -> None:
    line = "{} {} 8:1 / /a rw - ext4 /dev/sda1 rw"
    mounts = parse_mountinfo(f"{line.format(1, 2)}\n{line.format(2, 1)}\n")
    with bounded(cpu_s=1):
        assert len(mounts_below(mounts, Path("/a"))) == 2


def test_files_that_include_each_other_again_and_again_are_unclear() -> None:
    text = "include extra.txt\ninclude config.txt\n" * 9
    files = {"config.txt": f"kernel=a\n{text}arm_64bit=1\n", "extra.txt": text, "cmdline.txt": "root=/dev/sda2"}
    board = BOARDS[Model.FOUR_B]
    with bounded(cpu_s=2):
        assert "arm_64bit" in evaluate(files, board).unclear
        with pytest.raises(UnclearError):
            edit(files, board, initramfs="migrate.img")


def test_modules_that_wish_for_each_other_without_end_are_loaded() -> None:
    names = [f"k{number}" for number in range(3000)]
    index = KernelModules(
        folder="/lib/modules/1",
        files={name: f"{name}.ko" for name in names},
        softdeps={name: ((after,), ()) for name, after in itertools.pairwise(names)},
    )
    assert index.closure(names[:1])[-1].name == "k0"


def test_conditions_that_are_nested_without_end_take_no_time() -> None:
    with bounded(cpu_s=3):
        (last,) = [s for s in statements("if a\n" * 9000 + "b\n" + "fi\n" * 9000) if s.words == ("b",)]
        deep = [s for s in statements("if a\n" * 9000 + "b\n" * 9000) if s.words == ("b",)]
    assert len(last.conditions) == len(deep[-1].conditions) == NESTING_LIMIT


# Packed files -------------------------------------------------------------------------------------------------------


def damaged_gzip(content: bytes) -> bytes:
    """Deflate's first block is of no known type."""
    packed = bytearray(gzip.compress(content))
    packed[10] |= 6
    return bytes(packed)


def test_a_module_whose_packing_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.ko.gz").write_bytes(damaged_gzip(b"module" * 9))
    with pytest.raises(FileError, match="cannot be unpacked"):
        read_module(System(tmp_path), "/a.ko.gz")


def test_a_module_that_is_unpacked_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balena_migrate.initramfs.composed.kernel_modules.MODULE_LIMIT_BYTES", 1000)
    (tmp_path / "a.ko.gz").write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(FileError, match="larger than 1000"):
        read_module(System(tmp_path), "/a.ko.gz")


def test_a_kernel_configuration_whose_packing_is_damaged_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / RUNNING.lstrip("/")).write_bytes(damaged_gzip(b"CONFIG_A=y\n" * 9))
    assert read_kernel_config(System(tmp_path), "1") is None


# Images -------------------------------------------------------------------------------------------------------------


def test_a_boot_partition_behind_the_end_of_all_disks(tmp_path: Path) -> None:
    """The table's sums are right: its maker was wrong. The start file cannot be as long as that."""
    disk = gpt_image([("resin-boot", ESP, 1 << 60, 100)], total_bytes=1 << 20)
    (tmp_path / "image").write_bytes(with_right_sums(disk))
    with pytest.raises(ImageError, match="cut short"):
        read_image(tmp_path / "image", tmp_path, lambda done, total: None)


@pytest.mark.processes
def test_inodes_behind_the_end_of_all_disks(tmp_path: Path) -> None:
    """A raw flasher image is read in place, and no file has such an offset."""
    from balena_migrate.images.flasher import _reader

    raw = bytearray(disks.ext_samples(tmp_path)[0])
    struct.pack_into("<I", raw, 2048 + 8, 0xFFFFFFFF)
    struct.pack_into("<I", raw, 2048 + 40, 0xFFFFFFFF)
    (tmp_path / "image").write_bytes(raw)
    root = Partition(number=2, start_bytes=0, size_bytes=len(raw), type="83")
    with (
        pytest.raises(ImageError, match="leads out"),
        opened(tmp_path / "image", len(raw), lambda done, total: None) as passes,
    ):
        ExtFiles(_reader(passes, root)).root()


def test_a_folder_that_is_larger_than_any_may_be() -> None:
    """It would be read into memory as a whole."""
    most = FOLDER_LIMIT_BYTES // (32 * KIB)
    for chain, error in ((most - 1, ""), (most, "too large")):
        disk = disks.fat_disk(disks.fat_entry(0x10, 0), disks.one_chain(chain))
        with pytest.raises(ImageError, match=error) if error else contextlib.nullcontext():
            Fat(lambda offset, length, disk=disk: disk[offset : offset + length].ljust(length, b"\0"))  # type: ignore[misc]


def test_of_a_file_no_more_is_read_than_it_has() -> None:
    """Its chain may be longer, and be the whole disk."""
    disk, asked = disks.fat_disk(disks.fat_entry(0x20, 5), disks.one_chain(4000)), 0

    def read(offset: int, length: int) -> bytes:
        nonlocal asked
        asked += length
        return disk[offset : offset + length].ljust(length, b"x")

    fat = Fat(read)
    asked = 0
    assert fat.read_file("NAME.TXT") == b"xxxxx"
    assert asked == 32 * KIB


# Text ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["2001-99-99", "!!timestamp x", "!!int ''", "!!bool x", "0b_", "9" * 5000])
def test_a_value_of_yaml_that_is_none_is_no_definition_of_volumes(value: str) -> None:
    text = f"- volume: {value}\n  items: [{{source: /a}}]\n"
    with pytest.raises(ConfigError):
        parse_volumes(text, "/volumes.yml", System("/nowhere"))


def test_a_quote_in_redsocks_that_does_not_end_takes_no_time() -> None:
    text = 'redsocks { a = "' + '\\"' * 100_000
    with bounded(cpu_s=1), pytest.raises(NetworkConfigError, match="proxy"):
        parse_redsocks(text, "/etc/redsocks.conf")


def test_a_line_of_blanks_in_the_environment_takes_no_time() -> None:
    with bounded(cpu_s=1):
        assert parse_environment(f'a={" " * 200_000}"x', "/etc/environment") is None


def test_an_address_that_the_kernel_gives_in_too_few_bytes_is_left_out() -> None:
    body = struct.pack("=BBBBI", 2, 24, 0, 0, 1)
    for attribute in (struct.pack("=HH", 7, 2) + bytes(4), struct.pack("=HHIHH", 8, 2, 0, 6, 8) + bytes(4)):
        message = struct.pack("=IHHII", 16 + len(body) + len(attribute), RTM_NEWADDR, 0, 1, 0) + body + attribute
        parse_addresses(message, {1: "eth0"})
