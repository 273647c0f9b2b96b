# SPDX-License-Identifier: Apache-2.0
"""The syntax of NetworkManager's keyfiles: GLib key files.

Source: the GLib reference ("Key-value file parser") and nm-settings-keyfile(5). This module knows groups, keys,
escapes and lists, but not their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from balena_migrate.core.errors import NetworkConfigError

_ESCAPES = {"s": " ", "t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
_GROUP = re.compile(r"\[([^\[\]\x00-\x1f\x7f]+)\]")
_KEY = re.compile(r"[^=\[\]]+(\[[\w.@-]*\])?")
_LIST_OF_BYTES = re.compile(r"[0-9; ]*")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line; the value is raw, as in the file, and may be secret."""

    group: str
    key: str
    value: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Keyfile:
    """A whole file. Of two lines with the same key, the last one counts, as in GLib.

    `headers` are all groups in the file, since an empty one has a meaning, too.
    """

    entries: tuple[Entry, ...] = ()
    headers: tuple[str, ...] = ()

    def groups(self) -> tuple[str, ...]:
        """The names of the groups, each once, in order."""
        return tuple(dict.fromkeys((*self.headers, *(entry.group for entry in self.entries))))

    def keys(self, group: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.key for entry in self.entries if entry.group == group))

    @cached_property
    def _values(self) -> dict[tuple[str, str], str]:
        return {(entry.group, entry.key): entry.value for entry in self.entries}

    def raw(self, group: str, key: str) -> str | None:
        """The value as it is in the file, or None."""
        return self._values.get((group, key))

    def text(self, group: str, key: str) -> str:
        """The value as text, or ""."""
        raw = self.raw(group, key)
        return "" if raw is None else unescape(raw)

    def items(self, group: str, key: str) -> tuple[str, ...]:
        """The value as a list of texts; the last semicolon is optional."""
        return split_list(self.raw(group, key) or "")

    def flag(self, group: str, key: str, *, default: bool) -> bool:
        raw = (self.raw(group, key) or "").strip().lower()
        return raw in ("true", "1", "yes") if raw else default

    def number(self, group: str, key: str) -> int | None:
        raw = (self.raw(group, key) or "").strip()
        return int(raw) if re.fullmatch(r"-?[0-9]{1,10}", raw) else None

    def with_raw(self, group: str, key: str, value: str) -> Keyfile:
        """The same file with this raw value for this key."""
        entry = Entry(group=group, key=key, value=value)
        kept = [e for e in self.entries if (e.group, e.key) != (group, key)]
        place = next((i for i, e in enumerate(self.entries) if (e.group, e.key) == (group, key)), None)
        if place is None:
            return replace(self, entries=(*self.entries, entry))
        before = sum((e.group, e.key) != (group, key) for e in self.entries[:place])
        return replace(self, entries=(*kept[:before], entry, *kept[before:]))

    def with_text(self, group: str, key: str, value: str) -> Keyfile:
        return self.with_raw(group, key, escape(value))

    def without(self, group: str, *keys: str) -> Keyfile:
        """The same file without these keys of the group; if no keys are given, without the whole group."""
        kept = [e for e in self.entries if e.group != group or (keys and e.key not in keys)]
        headers = self.headers if keys else tuple(name for name in self.headers if name != group)
        return replace(self, entries=tuple(kept), headers=headers)

    def dump(self) -> str:
        """The file's text, one group after the other."""
        groups: dict[str, dict[str, str]] = {name: {} for name in self.groups()}
        for entry in self.entries:
            groups[entry.group][entry.key] = entry.value
        parts = ["".join(f"{key}={value}\n" for key, value in values.items()) for values in groups.values()]
        return "\n".join(f"[{name}]\n{part}" for name, part in zip(groups, parts, strict=True))


def parse_keyfile(text: str) -> Keyfile:
    """The entries of a key file. Raises NetworkConfigError with the line if GLib would not load the file."""
    entries: list[Entry] = []
    headers: list[str] = []
    group = ""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.lstrip(" \t\r\f\v").removesuffix("\r")
        if not stripped or stripped.startswith("#"):
            continue
        match = _GROUP.fullmatch(stripped.rstrip())
        if match:
            group = match[1]
            headers.append(group)
            continue
        key, equals, value = stripped.partition("=")
        if not equals or not group or not _KEY.fullmatch(key.rstrip()):
            raise NetworkConfigError(f"line {number} is neither a [group] nor key=value")
        entries.append(Entry(group=group, key=key.rstrip(), value=value.lstrip(" \t")))
    return Keyfile(entries=tuple(entries), headers=tuple(headers))


def escape(text: str) -> str:
    """A text as a raw value: line breaks, tabs and backslashes escaped, and a space at the start or end."""
    raw = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    if raw.startswith(" "):
        raw = "\\s" + raw[1:]
    return raw[:-1] + "\\s" if raw.endswith(" ") else raw


def unescape(raw: str) -> str:
    """The text of a raw value; an escape that GLib does not know is kept unchanged."""
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), raw)


def join_list(items: Iterable[str]) -> str:
    """Texts as a raw list value, each ended by a semicolon."""
    return "".join(escape(item).replace(";", "\\;") + ";" for item in items)


def split_list(raw: str) -> tuple[str, ...]:
    """The texts of a raw list value; empty ones are left out."""
    parts = re.findall(r"(?:[^;\\]|\\.)+", raw)
    return tuple(unescape(part.replace("\\;", ";")) for part in parts)


def dump_ssid(ssid: bytes) -> str:
    """An SSID as a raw value: text if it is unambiguous, else the list of its bytes."""
    text = ssid.decode("latin-1")
    if re.fullmatch(r"[!-~]([ -~]*[!-~])?", text) and not re.search(r"[;\\]", text) and not text.isdigit():
        return text
    return "".join(f"{byte};" for byte in ssid)


def parse_bytes(raw: str) -> bytes:
    """Bytes as NetworkManager reads them in `ssid` and old certificate values: a list of numbers, or text."""
    if ";" in raw and _LIST_OF_BYTES.fullmatch(raw):
        parts = [part.strip() for part in raw.split(";") if part.strip()]
        if all(len(part) <= 3 and part.isdigit() and int(part) <= 255 for part in parts):
            return bytes(int(part) for part in parts)
    return unescape(raw).replace("\\;", ";").encode("utf-8", "surrogateescape")
