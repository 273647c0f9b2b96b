# SPDX-License-Identifier: Apache-2.0
"""Memory that a disk's controller can read and write by itself (O_DIRECT), and its comparison.

Standard library only. Source: open(2) for the alignment that O_DIRECT asks for.
"""

from __future__ import annotations

import ctypes
import mmap

from balena_migrate.core.alignment import ALIGNMENT_BYTES

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def aligned_memory(size_bytes: int) -> memoryview:
    """That many zeros; their memory is free again when nothing refers to it any more."""
    return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def is_aligned(view: memoryview) -> bool:
    """Whether its bytes begin and end at multiples of ALIGNMENT_BYTES in memory."""
    return bool(view) and not view.readonly and _address(view) % ALIGNMENT_BYTES == len(view) % ALIGNMENT_BYTES == 0


def same(one: memoryview, other: memoryview) -> bool:
    """Whether two stretches of writable memory hold the same bytes.

    Python's own comparison of views takes them byte by byte, a hundred times slower, and with the interpreter's lock.
    """
    if len(one) != len(other):
        return False
    return not one or _memcmp(_address(one), _address(other), len(one)) == 0


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
