# SPDX-License-Identifier: Apache-2.0
"""The variable store of a PC with UEFI after a power cut: when it was written, beside the disk, and what it holds then.

Its flash memory stores what it gets at once and in order. QEMU records its writes in a log of its own; which of them
came between which of the disk's, its trace says, where both are in one order.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.recording import Request, read_recording, store_log, trace_log

_WRITE = re.compile(r"blk_co_pwritev blk (\S+) bs \S+ offset (\d+) bytes (\d+)")


@dataclass(frozen=True, kw_only=True)
class StoreHistory:
    """All writes to a variable store, and for each moment of the disk's history how many of them there may have been.

    `bounds` has, for each number of requests to the disk, the fewest and the most.
    """

    before: bytes = field(repr=False)
    writes: tuple[Request, ...] = field(repr=False)
    bounds: tuple[tuple[int, int], ...] = field(repr=False)

    def content(self, count: int) -> bytes:
        """The store after this many writes, as the firmware finds it."""
        store = bytearray(self.before)
        for write in self.writes[:count]:
            store[write.start_bytes : write.end_bytes] = write.content
        return settled(store)


def read_store_history(before: bytes, logs: Sequence[tuple[Path, Sequence[Request]]]) -> StoreHistory:
    """The history of a store with this content before, by the disk's log of each boot and what is in it.

    Raises LabError if QEMU's trace does not fit the logs.
    """
    writes: list[Request] = []
    bounds = [(0, 0)]
    for log, requests in logs:
        found = read_recording(store_log(log))
        order = _order(trace_log(log).read_text(), [r for r in requests if not r.is_flush], found)
        bounds += _bounds(requests, order, len(writes))
        writes += found
    return StoreHistory(before=before, writes=tuple(writes), bounds=tuple(bounds))


def _order(trace: str, disk: Sequence[Request], store: Sequence[Request]) -> list[bool]:
    """For each write of a boot, in its order, whether it was one to the store."""
    lines = [(name, int(offset), int(size)) for name, offset, size in _WRITE.findall(trace)]
    places = {name: [(offset, size) for other, offset, size in lines if other == name] for name, _, _ in lines}
    wanted = [(write.start_bytes, len(write.content)) for write in store]
    names = {name for name, found in places.items() if found == wanted}
    others = [line for line in lines if line[0] not in names]
    if (wanted and len(names) != 1) or len(others) != len(disk):
        raise LabError(
            f"QEMU's trace has {len(others)} writes beside the {len(wanted)} to the store, the log {len(disk)}"
        )
    return [line[0] in names for line in lines]


def _bounds(requests: Sequence[Request], order: Sequence[bool], start: int) -> Iterator[tuple[int, int]]:
    """After each request to the disk: how many writes to the store came before it, and before the next one."""
    count, before = start, []
    for is_store in order:
        if is_store:
            count += 1
        else:
            before.append(count)
    before.append(count)
    done = 0
    for request in requests:
        done += not request.is_flush
        low = before[done - 1] if done else start
        yield low, before[done]


_STORE = struct.Struct("<HBxL")
_START, _ADDED, _IN_TRANSITION = 0x55AA, 0x3F, 0x3E
_HEADER_BYTES, _SIZES_AT, _ALIGNMENT = 60, 36, 4


def settled(store: bytearray) -> bytes:
    """The store with each variable valid that the firmware takes: while a value is replaced, the old one counts until
    the new one is whole (edk2, MdeModulePkg/Universal/Variable: VAR_IN_DELETED_TRANSITION)."""
    found = list(_variables(store))
    whole = {name for _, state, name in found if state == _ADDED}
    for place, state, name in found:
        if state == _IN_TRANSITION and name not in whole:
            store[place + 2] = _ADDED
    return bytes(store)


def _variables(store: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Each variable's place, state and name, with the GUID before it."""
    place = store.find(struct.pack("<H", _START))
    while 0 <= place <= len(store) - _HEADER_BYTES:
        start, state, _ = _STORE.unpack_from(store, place)
        if start != _START:
            return
        name_bytes, data_bytes = struct.unpack_from("<LL", store, place + _SIZES_AT)
        yield place, state, bytes(store[place + 44 : place + _HEADER_BYTES + name_bytes])
        place += _HEADER_BYTES + name_bytes + data_bytes
        place += -place % _ALIGNMENT
