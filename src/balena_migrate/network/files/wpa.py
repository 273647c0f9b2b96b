# SPDX-License-Identifier: Apache-2.0
"""The syntax of wpa_supplicant.conf.

Source: hostap, wpa_supplicant/config_file.c and src/utils/common.c. A quoted value has no escapes and ends at the last
quote of its line; an unquoted one is hexadecimal; P"..." has printf's escapes.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

from balena_migrate.core.errors import NetworkConfigError

_BLOB = "blob-base64-"
_BLOCK = re.compile(r"(network|cred|interworking|blob-base64-[^=]*)=\{")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One network={...}: the line it starts at, and its raw values."""

    line: int
    values: dict[str, str] = field(repr=False)

    @property
    def subject(self) -> str:
        """The network's name for messages, even if it cannot be parsed."""
        return f"network in line {self.line}" + (f", ssid={self.values['ssid']}" if "ssid" in self.values else "")


@dataclass(frozen=True, kw_only=True)
class WpaFile:
    """A parsed file; `faults` are lines that wpa_supplicant would reject, too."""

    globals: dict[str, str] = field(default_factory=dict)
    networks: tuple[Block, ...] = ()
    blobs: dict[str, bytes] = field(default_factory=dict, repr=False)
    faults: tuple[tuple[int, str], ...] = ()


def parse_wpa_supplicant(text: str) -> WpaFile:
    """The blocks and global settings of a wpa_supplicant.conf, by hostap's rules for lines."""
    settings: dict[str, str] = {}
    blocks: list[tuple[str, int, list[str]]] = []
    faults: list[tuple[int, str]] = []
    name, start, lines = "", 0, list[str]()
    for number, raw in enumerate(text.split("\n"), start=1):
        line = _strip_line(raw)
        opening = _BLOCK.fullmatch(line)
        if name and line == "}":
            blocks.append((name, start, lines))
            name = ""
        elif opening and not name:
            name, start, lines = opening[1], number, []
        elif name:
            lines.append(line)
        elif "=" in line:
            key, _, value = line.partition("=")
            settings[key] = value
        elif line:
            faults.append((number, "not a line of the form key=value"))
    if name:
        faults.append((start, f"the {name} block is not closed"))
    faults += [(at, "a cred block (Hotspot 2.0) cannot be carried") for kind, at, _ in blocks if kind == "cred"]
    return WpaFile(
        globals=settings,
        networks=tuple(Block(line=at, values=_values(inside)) for kind, at, inside in blocks if kind == "network"),
        blobs={
            kind.removeprefix(_BLOB): _blob("".join(inside)) for kind, _, inside in blocks if kind.startswith(_BLOB)
        },
        faults=tuple(sorted(faults)),
    )


def _strip_line(raw: str) -> str:
    """A line without leading and trailing spaces and without its comment, which may not start inside of quotes."""
    line = raw.lstrip(" \t\r")
    if line.startswith("#"):
        return ""
    mark = line.find("#", max(line.rfind('"'), 0) if line.count('"') > 1 else 0)
    return (line if mark < 0 else line[:mark]).rstrip(" \t\r\n")


def _values(lines: list[str]) -> dict[str, str]:
    pairs = [line.partition("=") for line in lines if "=" in line]
    return {key.strip(): value for key, _, value in pairs}


def _blob(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:  # binascii.Error, and for what is not ASCII
        return b""


def parse_string(value: str) -> bytes:
    """A value in one of the three forms, as bytes. Raises NetworkConfigError."""
    data = value.encode("utf-8", "surrogateescape")
    if value.startswith('P"') and value.endswith('"') and len(value) > 2:
        return _parse_printf(data[2:-1])
    if value.startswith('"'):
        if len(value) < 2 or not value.endswith('"'):
            raise NetworkConfigError("the quote is not closed")
        return data[1:-1]
    if re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", value):
        return bytes.fromhex(value)
    raise NetworkConfigError("a value is neither quoted nor hexadecimal")


def _parse_printf(data: bytes) -> bytes:
    """As hostap's printf_decode: an unknown escape stands for its character, and \\x without digits for nothing."""
    plain = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"e": b"\x1b", b"x": b""}

    def decode(match: re.Match[bytes]) -> bytes:
        hexadecimal, octal, code = match.groups()
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        return bytes([int(octal, 8) & 0xFF]) if octal else plain.get(code, code)

    return re.sub(rb"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.?))", decode, data, flags=re.DOTALL)


def parse_text(value: str) -> str:
    """As parse_string, but text. Raises NetworkConfigError if it is not UTF-8."""
    try:
        return parse_string(value).decode("utf-8")
    except UnicodeDecodeError:
        raise NetworkConfigError("a value is not UTF-8, the only encoding of keyfiles") from None
