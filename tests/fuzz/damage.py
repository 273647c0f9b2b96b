# SPDX-License-Identifier: Apache-2.0
"""Damage to a sample, as hypothesis draws it: a few edits, each a kind, a place and an amount."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

Edit = tuple[int, int, int]
"""Kind, place, amount."""

BLOCK_BYTES = 32
"""Places are drawn from blocks of this size that hold something: most of a file system holds nothing."""

TOKENS = (
    *(
        b"",
        b"\0",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b" ",
        b"\\",
        b'"',
        b"'",
        b"=",
        b":",
        b";",
        b",",
        b"#",
        b"/",
        b"-",
        b".",
    ),
    *(b"[", b"]", b"{", b"}", b"(", b")", b"<", b">", b"$", b"${", b"&a", b"*a", b"!!int ", b"? ", b"- ", b"%", b"\\x"),
    *(
        b"-1",
        b"0",
        b"1",
        b"0x",
        b"0X_",
        b"1e999",
        b"-0",
        b"NaN",
        b"null",
        b"true",
        b"99999999999999999999",
        b"9" * 5000,
    ),
    *(b"2001-99-99", b"1:99", b"0b_", b"::", b"::1%", b"1.2.3.4/99", b"[::1", b"http://[", b"..", b"../..", b"\\\n"),
    *("²".encode(), "٣".encode(), "é".encode(), "\u2028".encode(), "\x85".encode(), "\ufeff".encode()),
    *(b"\xff", b"\xed\xa0\x80", b"\x80", b"A" * 300, b"\0" * 600),
)


def _flip(content: bytearray, place: int, amount: int) -> None:
    content[place] ^= amount % 255 + 1


def _cut(content: bytearray, place: int, amount: int) -> None:
    del content[place:]


def _remove(content: bytearray, place: int, amount: int) -> None:
    del content[place : place + 1 + amount % 64]


def _insert(content: bytearray, place: int, amount: int) -> None:
    content[place:place] = TOKENS[amount % len(TOKENS)]


def _overwrite(content: bytearray, place: int, amount: int) -> None:
    token = TOKENS[amount % len(TOKENS)]
    content[place : place + len(token)] = token


def _set_number(content: bytearray, place: int, amount: int) -> None:
    """A number of one to eight bytes is at an extreme, or names its own place."""
    amount, width = divmod(amount, 4)
    width = 1 << width
    most = (1 << 8 * width) - 1
    values = (0, 1, 2, most, most - 1, most >> 1, (most >> 1) + 1, place & most, place >> 9 & most, len(content) & most)
    amount, choice = divmod(amount, len(values))
    content[place : place + width] = values[choice].to_bytes(width, "big" if amount % 2 else "little")


def _repeat(content: bytearray, place: int, amount: int) -> None:
    amount, length = divmod(amount, 64)
    content[place:place] = content[place : place + 1 + length] * (1 + amount)


def _repeat_line(content: bytearray, place: int, amount: int) -> None:
    start = content.rfind(b"\n", 0, place) + 1
    end = content.find(b"\n", place) + 1 or len(content)
    content[start:start] = content[start : min(end, start + 1000)] * (1 + amount % 60)


def _copy(content: bytearray, place: int, amount: int) -> None:
    """A stretch is once more over what is somewhere else."""
    amount, length = divmod(amount, 16)
    part = content[place : place + (1 << length % 10)]
    target = amount * 2_654_435_761 % len(content)
    content[target : target + len(part)] = part


KINDS: tuple[Callable[[bytearray, int, int], None], ...] = (
    *(_flip, _cut, _remove, _insert, _overwrite, _set_number, _set_number, _repeat, _repeat_line, _copy),
)

EDITS = st.lists(
    st.tuples(st.integers(0, len(KINDS) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 16) - 1)),
    min_size=1,
    max_size=5,
)


def damaged(sample: bytes, edits: Sequence[Edit]) -> bytes:
    """The sample with these edits, one after another."""
    content, blocks = bytearray(sample), _blocks(sample)
    for kind, where, amount in edits:
        number, inside = where % len(blocks), where // len(blocks)
        place = blocks[number] + inside % BLOCK_BYTES
        if content:
            KINDS[kind](content, place % len(content), amount)
    return bytes(content)


@functools.lru_cache(maxsize=400)
def _blocks(sample: bytes) -> tuple[int, ...]:
    """The offsets of all blocks that hold something."""
    zeros = bytes(BLOCK_BYTES)
    starts = range(0, len(sample), BLOCK_BYTES)
    return tuple(start for start in starts if sample[start : start + BLOCK_BYTES] != zeros) or (0,)


def fixed(count: int) -> settings:
    """As many examples, the same in each run. One that fails is told as it is: to shrink it would take minutes."""
    return settings(
        max_examples=count, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
