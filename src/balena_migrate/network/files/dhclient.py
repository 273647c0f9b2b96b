# SPDX-License-Identifier: Apache-2.0
"""The syntax of ISC's DHCP client: dhclient.conf(5) and dhclient.leases(5).

This module knows statements and values, but not where the files are.
"""

from __future__ import annotations

import re

# Whatever may be long is bounded: a file without an end of what it starts is else searched from each of its places.

_COMMENT = re.compile(r'("(?:\\.|[^"\\]){0,400}")|#[^\n]*')
_INTERFACE = re.compile(r'\binterface\s+"([^"]*)"\s*\{([^{}]*)\}')
_STATEMENT = re.compile(
    r'\b(send|supersede|prepend|append|default)\s+([a-z0-9.-]+)\s+((?:"(?:\\.|[^"\\]){0,400}"|[^";]){1,400});'
)
_LEASE = re.compile(r"\blease\s*\{([^{}]*)\}")
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"')
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)", re.DOTALL)
_HEX = re.compile(r"(?i)[0-9a-f]{1,2}(?::[0-9a-f]{1,2})+")


def parse_statements(text: str, interface: str) -> dict[tuple[str, str], str]:
    """Word and option -> raw value of the statements for an interface; its own ones count more than those for all."""
    plain = _COMMENT.sub(lambda match: match[1] or "", text)
    own = " ".join(body for name, body in _INTERFACE.findall(plain) if name == interface)
    found = _STATEMENT.findall(_INTERFACE.sub("", plain)) + _STATEMENT.findall(own)
    return {(word, option): value.strip() for word, option, value in found}


def parse_bytes(value: str) -> bytes | None:
    """The bytes of a value: a quoted text or hexadecimal; None for an expression that only dhclient computes."""
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        text = _ESCAPE.sub(
            lambda match: chr(int(match[1], 8) & 0xFF) if match[1][0] in "01234567" else match[1], quoted[1]
        )
        return text.encode("latin-1", "replace")
    return bytes(int(part, 16) for part in value.split(":")) if _HEX.fullmatch(value) else None


def last_lease(text: str, interface: str, address: str) -> str:
    """The body of the last lease in a file of leases that gave the interface this address; "" if none did."""
    named, given = f'interface "{interface}";', f"fixed-address {address};"
    return next((body for body in reversed(_LEASE.findall(text)) if named in body and given in body), "")


def find_value(text: str, words: str) -> bytes | None:
    """The value behind these words, such as default-duid, in a file of leases or in one lease."""
    match = re.search(rf'(?m)^[ \t]*{re.escape(words)}[ \t]+("(?:\\.|[^"\\]){{0,400}}"|[0-9A-Fa-f:]+);', text)
    return parse_bytes(match[1]) if match else None
