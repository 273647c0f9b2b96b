# SPDX-License-Identifier: Apache-2.0
"""Untrusted YAML: strings, lists and mappings only, of a bounded size.

Scalars stay strings, as netplan gets them from libyaml: with YAML's own types, the Wi-Fi network 0123 would be 83.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from balena_migrate.core.errors import NetworkConfigError

Node = dict[str, Any]

DEPTH_LIMIT = 32
NODES_LIMIT = 20_000
"""Aliases count in expanded form, so that a few lines cannot grow to billions of nodes."""


class Null(str):
    """What YAML reads as null if unquoted; in quotes, it is a string."""


class _Loader(yaml.BaseLoader):
    """Loads only strings and null; keys are always strings."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_constructor("tag:yaml.org,2002:null", lambda loader, node: Null(node.value))

_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def parse_yaml(text: str) -> Any:
    """The document as str, list and dict. Raises NetworkConfigError with the position of the error."""
    try:
        _check_size(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise NetworkConfigError(f"{place}{error.problem or 'not YAML'}") from None
    except yaml.YAMLError:
        raise NetworkConfigError("contains bytes that YAML does not allow") from None


def _check_size(text: str) -> None:
    """Raises NetworkConfigError for a document that is too deep, or too large with its aliases expanded."""
    total = 0
    open_nodes: list[tuple[str | None, int]] = []
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise NetworkConfigError(f"the alias *{event.anchor} is undefined or refers to itself")
            total += sizes[event.anchor]
        elif isinstance(event, _OPENING):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, _CLOSING):
            anchor, start = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - start
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if len(open_nodes) > DEPTH_LIMIT or total > NODES_LIMIT:
            raise NetworkConfigError(f"is nested deeper than {DEPTH_LIMIT} or contains more than {NODES_LIMIT} values")


def as_node(value: Any) -> Node:
    """A mapping; empty for anything else, such as the null of an empty section."""
    return value if isinstance(value, dict) else {}


def items_of(node: Node, key: str) -> list[Any]:
    """A list; empty for anything else."""
    value = node.get(key)
    return value if isinstance(value, list) else []


def texts_of(node: Node, key: str) -> list[str]:
    """A list of strings; a single string becomes a list of one."""
    value = node.get(key)
    if isinstance(value, str):
        return [] if isinstance(value, Null) or not value else [value]
    return [item for item in items_of(node, key) if isinstance(item, str)]


def text_of(node: Node, key: str) -> str:
    """A string; empty for anything else."""
    value = node.get(key, "")
    return value if isinstance(value, str) and not isinstance(value, Null) else ""


def flag_of(node: Node, key: str) -> bool:
    """Whether the value is one of YAML's spellings of true."""
    return text_of(node, key).lower() in ("true", "yes", "on", "y", "1")
