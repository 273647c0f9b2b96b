# SPDX-License-Identifier: Apache-2.0
"""The syntax of "[Section]" and "key = value" that systemd, ConnMan and iwd share."""

from __future__ import annotations

from dataclasses import dataclass, field

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.network.files.number import find_number


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section; its name may occur more than once in a file, and a key more than once in it."""

    name: str
    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def values(self, key: str) -> tuple[str, ...]:
        """All values of a key; an empty one clears those before it."""
        found: list[str] = []
        for name, value in self.pairs:
            if name == key:
                found = [*found, value] if value else []
        return tuple(found)

    def value(self, key: str) -> str:
        """The last value of a key, or ""."""
        return next((value for name, value in reversed(self.pairs) if name == key), "")

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.value(key).lower()
        return value in ("true", "yes", "on", "1", "y", "t") if value else default

    def number(self, key: str) -> int | None:
        return find_number(self.value(key))

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name, _ in self.pairs))


def parse_ini(text: str) -> tuple[Section, ...]:
    """The sections in order. Comments start with "#" or ";". Raises NetworkConfigError with the line."""
    sections: list[Section] = []
    name: str | None = None
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(text.replace("\\\n", " ").split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if stripped.startswith("[") and stripped.endswith("]"):
            if name is not None:
                sections.append(Section(name=name, pairs=tuple(pairs)))
            name, pairs = stripped[1:-1], []
            continue
        key, equals, value = stripped.partition("=")
        if name is None or not equals:
            raise NetworkConfigError(f"line {number} is neither a [section] nor key=value")
        pairs.append((key.strip(), value.strip()))
    if name is not None:
        sections.append(Section(name=name, pairs=tuple(pairs)))
    return tuple(sections)


def find_section(sections: tuple[Section, ...], *names: str) -> Section:
    """All sections of these names merged into one, which may be empty."""
    pairs = tuple(pair for section in sections if section.name in names for pair in section.pairs)
    return Section(name=names[0], pairs=pairs)
