# SPDX-License-Identifier: Apache-2.0
"""The kernel's arguments as words of GRUB's language, so that the kernel gets from GRUB what it got before.

Two things happen to a word of the line `linux KERNEL WORD ...`. GRUB's shell reads it: outside of single quotes, blanks
and `{}|&$;<>` and more have a meaning (GRUB's manual, "Shell-like scripting"). Then the command `linux` escapes
it for the kernel's command line: a backslash before each `\\`, `'` and `"`, and quotes around a word with blanks
(grub-core/lib/cmdline.c, grub_create_loader_cmdline). So this is reversed first.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_./:,=+@^-]+")
"""What GRUB's shell takes as it is."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEXADECIMAL = re.compile(r"\\x[0-9A-Fa-f]{2}")
"""The one form with a backslash that `linux` leaves alone."""


def quote(argument: str) -> str:
    """The word that makes GRUB's command `linux` hand this argument to the kernel. Raises ValueError if none does."""
    word = _reverted(_without_quotes(argument))
    if _CONTROL.search(word):
        raise ValueError("it has a control character, which GRUB's configuration cannot contain")
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", r"'\''") + "'"


def _without_quotes(argument: str) -> str:
    """`"name=a b"` and `name="a b"` as the kernel reads both: name=a b, which GRUB puts into quotes again."""
    match = re.fullmatch(r'"([^"]*)"|([^"=]+=)"([^"]*)"', argument, re.DOTALL)
    return "".join(part or "" for part in match.groups()) if match else argument


def _reverted(argument: str) -> str:
    """The word that GRUB makes this argument of. Raises ValueError if it can make it of none."""
    word = re.sub(r"\\x[0-9A-Fa-f]{2}|\\([\\'\"])", lambda match: match[1] or match[0], argument)
    if _escaped(word) != argument:
        raise ValueError("GRUB would put a backslash before one of its quotes or backslashes")
    return word


def _escaped(word: str) -> str:
    return re.sub(rf"{_HEXADECIMAL.pattern}|[\\'\"]", _with_backslash, word)


def _with_backslash(match: re.Match[str]) -> str:
    return match[0] if len(match[0]) > 1 else "\\" + match[0]
