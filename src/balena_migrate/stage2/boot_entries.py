# SPDX-License-Identifier: Apache-2.0
"""The boot entries of UEFI firmware after the flash: the new system's first, those of the old disk gone.

Standard library only. What balena's own flasher does (meta-balena, balena-init-flasher-efi): entries of its labels are
removed, and a new one comes first. Without it firmware starts EFI/BOOT/bootx64.efi, where nothing in its order leads
anywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from balena_migrate.core.efi_variables import (
    EFIVARFS,
    EFIVARS,
    dump_numbers,
    find_options,
    find_order,
    option_path,
    remove_variable,
    variable_path,
    write_value,
)
from balena_migrate.core.handover import NewBootEntry
from balena_migrate.core.load_option import LoadOption, parse_option
from balena_migrate.core.paths import BOOT_ENTRY
from balena_migrate.core.system import System
from balena_migrate.stage2 import kernel

OUR_LABELS = (BOOT_ENTRY, "balenaOS", "resinOS")
"""Stage 2's, and those under which balena's flashers write theirs."""


@dataclass(frozen=True, kw_only=True)
class NewOrder:
    """The entries of a firmware as they shall be: those that go, the new one's number, and the order."""

    removed: tuple[int, ...]
    number: int
    order: tuple[int, ...]


@contextlib.contextmanager
def variables() -> Iterator[None]:
    """The firmware's variables are there in the block, for reading and writing. Raises DiskError."""
    with contextlib.ExitStack() as held:
        if not Path(EFIVARS).is_mount():
            held.enter_context(kernel.mounted(EFIVARFS, Path(EFIVARS), EFIVARFS))
        yield


def write_boot_entry(machine: System, entry: NewBootEntry) -> NewOrder:
    """The firmware starts the new system first. It can be done again. Raises DiskError or FileError."""
    with variables():
        new = plan_order(find_options(machine), find_order(machine), entry)
        for number in new.removed:
            remove_variable(machine, option_path(number))
        write_value(machine, option_path(new.number), entry.option)
        write_value(machine, variable_path("BootOrder"), dump_numbers(new.order))
    return new


def plan_order(options: Mapping[int, bytes], order: tuple[int, ...], entry: NewBootEntry) -> NewOrder:
    """Entries of ours and of the old disk go; the new one comes first, and all others keep their places."""
    removed = tuple(number for number, value in sorted(options.items()) if _is_stale(value, entry))
    kept = set(options) - set(removed)
    number = next(number for number in range(0x10000) if number not in kept)
    rest = (other for other in order if other not in removed and other != number)
    return NewOrder(removed=removed, number=number, order=(number, *rest))


def _is_stale(value: bytes, entry: NewBootEntry) -> bool:
    option = _find_option(value)
    if option is None:
        return False
    place = option.hard_drive.partuuid if option.hard_drive else ""
    return option.label in OUR_LABELS or place in entry.old_partuuids


def _find_option(value: bytes) -> LoadOption | None:
    """None for one that makes no sense, which is left alone."""
    try:
        return parse_option(value)
    except ValueError:
        return None
