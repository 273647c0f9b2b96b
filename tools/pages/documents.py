# SPDX-License-Identifier: Apache-2.0
"""docs/json.md: every JSON document that is printed, described by its class."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import itertools
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Union, get_args, get_origin, get_type_hints

from balena_migrate.cli import STATUSES, verbs
from balena_migrate.cli.output import ErrorOutput
from balena_migrate.core.plugins import module_names
from balena_migrate.stage2.meter import ProgressLine
from balena_migrate.workstation.lab.cuts.result import CutsResult
from balena_migrate.workstation.lab.result import Rehearsal
from pages import NOTICE, code, paragraph, table

COMMANDS = {"image": "image inspect", "kit": "kit verify"}
"""Where a verb has a verb of its own."""


def documents() -> Iterator[tuple[str, type]]:
    """Each command that prints JSON, and the class of what it prints."""
    for verb in module_names(verbs.__path__):
        module = importlib.import_module(f"{verbs.__name__}.{verb}")
        if hasattr(module, "DOCUMENT"):
            yield f"balena-migrate {COMMANDS.get(verb, verb)} --json", module.DOCUMENT
    yield "balena-migrate rehearse --json FILE", Rehearsal
    yield "balena-migrate rehearse --cuts N --json FILE", CutsResult


def json_page() -> str:
    """All documents, then the classes that they are made of."""
    shown = dict(documents())
    page = f"# JSON\n\n{NOTICE}"
    page += paragraph(
        """With `--json` a command prints one JSON document on standard output and nothing else there; what goes on
        meanwhile is on standard error. No document contains a secret. Each has the number `format`, which is increased
        when a key is removed or its meaning changes. New keys may be added at any time: ignore unknown ones."""
    )
    for title, kind in shown.items():
        page += _section(f"`{title}`", kind)
    page += _section("Progress of the flash", ProgressLine)
    page += _section("Errors", ErrorOutput)
    page += "## Exit status\n\n" + table(("status", "meaning"), ((str(int(s)), text) for s, text in STATUSES.items()))
    page += "## Parts of documents\n\n"
    done = {*shown.values(), ErrorOutput}
    todo = [part for kind in (*shown.values(), ErrorOutput) for part in _parts(kind)]
    parts: dict[str, type] = {}
    while todo:
        part = todo.pop(0)
        if part not in done:
            done.add(part)
            parts[_anchor(part)] = part
            todo += _parts(part)
    for _, part in sorted(parts.items()):
        page += _section(_anchor(part), part, level=3)
    return page.rstrip() + "\n"


def _section(title: str, kind: type, level: int = 2) -> str:
    hints = get_type_hints(kind)
    classes = (node for node in ast.walk(_tree(inspect.getfile(kind))) if isinstance(node, ast.ClassDef))
    body = next(node for node in classes if node.name == kind.__name__)
    texts = {"format": "The version of the document."} | dict(_texts(body.body))
    rows = ((code(f.name), _type(hints[f.name]), texts.get(f.name, "")) for f in dataclasses.fields(kind))
    text = ast.get_docstring(body)
    above = f"{'#' * level} {title}\n\n{paragraph(text) if text else ''}"
    return above + table(("key", "type", "meaning"), rows)


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_bytes())


def _texts(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node, following in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(following, ast.Expr):
            value = getattr(following.value, "value", None)
            if isinstance(value, str):
                yield node.target.id, value


def _anchor(kind: type) -> str:
    """The name of a part; two classes of one name have their module's before it."""
    return f"{kind.__module__.removeprefix('balena_migrate.')}.{kind.__name__}"


def _type(hint: Any) -> str:
    """A type in words of JSON."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}" if arguments[-1] is ... else "list"
    if origin is dict or hint is dict:
        return f"object of {_type(arguments[1])} by name" if arguments else "object"
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        anchor = _anchor(hint)
        return f"[{hint.__name__}](#{anchor.lower().replace('.', '')})"
    return _simple(hint)


def _simple(hint: type) -> str:
    if issubclass(hint, enum.Enum):
        return " or ".join(code(f'"{member.value}"') for member in hint)
    if issubclass(hint, bytes):
        return "text, base64"
    names = {bool: "true or false", int: "integer", float: "number", str: "text"}
    return "text" if issubclass(hint, PurePath) else names[hint]


def _parts(hint: Any) -> list[type]:
    """The classes that a type, or the fields of a class, are made of."""
    if dataclasses.is_dataclass(hint):
        return [part for field in get_type_hints(hint).values() for part in _inner(field)]
    return []


def _inner(hint: Any) -> list[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    return [part for argument in get_args(hint) for part in _inner(argument)]
