# SPDX-License-Identifier: Apache-2.0
"""Find the modules that a module needs by following its import statements, without running anything.

`modulefinder` would look for the extension modules of the machine that it runs on, and follow imports that only type
checkers need.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HOLDERS = (ast.stmt, ast.excepthandler, ast.match_case)
"""The nodes of a syntax tree that are statements or contain some."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module and its file: Python source or an extension."""

    name: str
    path: Path

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def is_extension(self) -> bool:
        return self.path.suffix == ".so"

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def find_module(name: str, folders: Iterable[Path]) -> Module | None:
    """The module in the first folder that has it; None for a built-in module and for an attribute of a module."""
    relative = name.replace(".", "/")
    for folder in folders:
        for path in (folder / relative / "__init__.py", folder / f"{relative}.py"):
            if path.is_file():
                return Module(name=name, path=path)
        for path in folder.glob(f"{relative}.cpython-*.so"):
            return Module(name=name, path=path)
    return None


def submodules(package: Module) -> Iterator[str]:
    """The names of the package and of all modules in it, at any depth."""
    yield package.name
    if not package.is_package:
        return
    for path in sorted(package.path.parent.iterdir()):
        if path.suffix == ".py" and path.stem != "__init__":
            yield f"{package.name}.{path.stem}"
        elif (path / "__init__.py").is_file():
            name = f"{package.name}.{path.name}"
            yield from submodules(Module(name=name, path=path / "__init__.py"))


def parse_imports(source: bytes, name: str, *, is_package: bool) -> frozenset[str]:
    """The absolute names that the source of the module `name` imports; some may be attributes of modules."""
    package = name if is_package else name.rpartition(".")[0]
    found: set[str] = set()
    for statement in _statements(ast.parse(source)):
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            origin = _origin(statement, package)
            found.add(origin)
            found.update(f"{origin}.{alias.name}" for alias in statement.names)
    return frozenset(found)


def _origin(statement: ast.ImportFrom, package: str) -> str:
    if not statement.level:
        return statement.module or ""
    parts = package.split(".")
    parent = parts[: len(parts) - statement.level + 1]
    return ".".join([*parent, statement.module] if statement.module else parent)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements except those that only a type checker sees. Expressions contain none."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and _is_for_type_checkers(node.test):
            todo.extend(node.orelse)
        else:
            children = ast.iter_child_nodes(node)
            todo.extend(child for child in children if isinstance(child, _HOLDERS))


def _is_for_type_checkers(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def find_closure(roots: Iterable[str], folders: Iterable[Path], leave_out: frozenset[str]) -> dict[str, Module]:
    """All modules that importing the roots may load, by name.

    Names in `leave_out`, and everything inside them, are not followed. Built-in modules have no file and are not in
    the result. A package that loads its modules as plug-ins brings all of them.
    """
    places = tuple(folders)
    todo = sorted(set(roots))
    seen: set[str] = set()
    found: dict[str, Module] = {}
    while todo:
        name = todo.pop()
        if name in seen or not name or any(part in leave_out for part in _with_parents(name)):
            continue
        seen.add(name)
        todo.extend(_with_parents(name))
        module = find_module(name, places)
        if module is None:
            continue
        found[name] = module
        if not module.is_extension:
            imports = _read_imports(module)
            todo.extend(imports)
            if module.is_package and "balena_migrate.core.plugins" in imports:
                todo.extend(submodules(module))
    return dict(sorted(found.items()))


@cache
def _read_imports(module: Module) -> frozenset[str]:
    return parse_imports(module.path.read_bytes(), module.name, is_package=module.is_package)


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]
