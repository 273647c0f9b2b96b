# SPDX-License-Identifier: Apache-2.0
"""The syntax of /etc/network/interfaces (interfaces(5))."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_KEYWORDS = (
    "iface",
    "auto",
    "mapping",
    "source",
    "source-directory",
    "rename",
    "no-auto-down",
    "no-scripts",
    "template",
)


@dataclass(kw_only=True)
class Stanza:
    """One iface stanza; an option may occur more than once."""

    source: str
    name: str
    family: str
    method: str
    options: list[tuple[str, str]] = field(default_factory=list, repr=False)

    @property
    def interface(self) -> str:
        """The name without an alias (eth0:1)."""
        return self.name.partition(":")[0]

    def values(self, *keys: str) -> list[str]:
        return [value for key, value in self.options if key in keys]

    def value(self, *keys: str) -> str:
        return next(iter(self.values(*keys)), "")

    def words(self, *keys: str) -> list[str]:
        return " ".join(self.values(*keys)).split()


def logical_lines(text: str) -> Iterator[str]:
    """The lines without comments, with runs of spaces collapsed and continued lines joined."""
    for line in text.replace("\\\n", " ").split("\n"):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield " ".join(words)


@dataclass(kw_only=True)
class InterfacesFile:
    """`automatic` are the interfaces brought up automatically, with the stanza that each uses ("" for its own); an
    interface may be a pattern. `mappings` are interfaces whose stanza a script chooses.
    """

    stanzas: list[Stanza] = field(default_factory=list)
    automatic: dict[str, str] = field(default_factory=dict)
    mappings: list[str] = field(default_factory=list)


def parse_interfaces(text: str, source: str) -> InterfacesFile:
    """Parse an interfaces file."""
    file = InterfacesFile()
    inside = False
    for line in logical_lines(text):
        word, _, rest = line.partition(" ")
        if word == "iface":
            file.stanzas.append(_stanza(rest.split(), source))
        elif word == "auto" or word.startswith("allow-"):
            for physical, _, logical in (name.partition("=") for name in rest.split()):
                file.automatic[_interface_pattern(physical)] = logical
        elif word == "mapping":
            file.mappings += rest.split()
        elif word not in _KEYWORDS and inside and rest:
            file.stanzas[-1].options.append((word, rest))
        if word in _KEYWORDS or word.startswith("allow-"):
            inside = word == "iface"
    return file


def _stanza(words: list[str], source: str) -> Stanza:
    """The stanza of an iface line. Words after the method are kept as options ("inherits", "base")."""
    name, family, method = (*words, "", "", "")[:3]
    pairs = zip(words[3::2], words[4::2], strict=False)
    return Stanza(source=source, name=name, family=family, method=method, options=list(pairs))


def _interface_pattern(text: str) -> str:
    """An interface without its alias (eth0:1); "/eth*/1" is a pattern."""
    return text.split("/")[1] if text.startswith("/") else text.partition(":")[0]
