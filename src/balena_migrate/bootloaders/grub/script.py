# SPDX-License-Identifier: Apache-2.0
"""What grub.cfg does before it shows its menu: its statements outside of entries and functions; and the kernel's
arguments in its entries.

Only as much of GRUB's language as the checks need (GRUB's manual, "Shell-like scripting"); nothing is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r]+|\\\n|(?<!\S)\#[^\n]*)|(?P<end>[\n;])|(?P<brace>[{}])"""
    r"""|(?P<word>(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$\{[^{}\s]*\}|[^\s;{}'"\\])+)|(?P<other>.)""",
    re.DOTALL,
)


NESTING_LIMIT = 50
"""Of conditions that are told; update-grub nests three."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One command, without quotes, and the conditions under which it is executed, outermost first."""

    words: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    """For each `if` around it: the words of the branch that it is in; "else" for the last."""
    chains: tuple[int, ...] = ()
    """For each `if` around it: a number of its own, the same in all of its branches."""

    @property
    def assignment(self) -> tuple[str, str] | None:
        """Name and value, if the statement sets a variable."""
        words = self.words[1:] if self.words[0] == "set" else self.words
        match = re.fullmatch(r"(\w+)=(.*)", words[0], re.DOTALL) if len(words) == 1 else None
        return (match[1], match[2]) if match else None


def statements(text: str) -> Iterator[Statement]:
    """The statements outside of braces, in order; of an entry its head."""
    branches: list[tuple[int, str]] = []
    count = 0
    for words in _commands(text):
        match words[0]:
            case "if":
                count += 1
                branches.append((count, " ".join(words[1:])))
            case "elif" if branches:
                branches[-1] = (branches[-1][0], " ".join(words[1:]))
            case "else" if branches:
                branches[-1] = (branches[-1][0], "else")
            case "fi" if branches:
                branches.pop()
            case _:
                chains, conditions = (
                    (tuple(part) for part in zip(*branches[:NESTING_LIMIT], strict=True)) if branches else ((), ())
                )
                yield Statement(words=words, conditions=conditions, chains=chains)


def kernel_lines(text: str) -> tuple[str, ...]:
    """The arguments with which entries start Linux: of linux, and of linux16 and linuxefi of some distributions.

    Update-grub writes each of these commands into a line of its own.
    """
    return tuple(re.findall(r"^[ \t]*linux(?:16|efi)?[ \t]+(.+)$", text, re.MULTILINE))


def values_of(text: str, name: str) -> tuple[str, ...]:
    """What a variable is set to, outside of entries and functions."""
    found = (statement.assignment for statement in statements(text))
    return tuple(pair[1] for pair in found if pair and pair[0] == name)


def _commands(text: str) -> Iterator[tuple[str, ...]]:
    """The commands outside of braces, split where `then`, `else` and `do` begin another one."""
    words: list[str] = []
    depth = 0
    for kind, token in _tokens(text):
        if kind == "brace":
            depth = max(0, depth + (1 if token == "{" else -1))
        elif depth == 0 and kind == "word":
            words.append(token)
        starts_another = kind == "word" and words[-1:] == [token] and token in ("then", "else", "do")
        if kind != "word" or starts_another:
            command = tuple(word for word in words if word not in ("then", "do"))
            words = []
            if command:
                yield command


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind != "skip":
            yield kind, _unquoted(match[0]) if kind == "word" else match[0]
    yield "end", "\n"


def _unquoted(word: str) -> str:
    return re.sub(
        r"'([^']*)'|\"((?:\\.|[^\"\\])*)\"|\\(.)", lambda m: m[1] or m[2] or m[3] or "", word, flags=re.DOTALL
    )
