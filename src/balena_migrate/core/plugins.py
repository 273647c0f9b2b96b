# SPDX-License-Identifier: Apache-2.0
"""Folders as registries: modules in a folder are found by name, so that adding a file is sufficient."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any


def module_names(path: Iterable[str]) -> list[str]:
    """The names of the modules in a package, sorted, without those whose names start with an underscore."""
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


def load(package: str, name: str, attribute: str) -> Any:
    """The attribute of one module in the package; the module is loaded on this call."""
    return getattr(importlib.import_module(f"{package}.{name}"), attribute)


def load_all(package: str, path: Iterable[str], attribute: str) -> tuple[Any, ...]:
    """The attribute of every module in the package that has it, by module name."""
    modules: list[ModuleType] = [importlib.import_module(f"{package}.{name}") for name in module_names(path)]
    return tuple(getattr(module, attribute) for module in modules if hasattr(module, attribute))
