# SPDX-License-Identifier: Apache-2.0
"""What many modules need has one home: names, units, and each way to reach, hash, replace and retry.

The lab may spell the names: its proofs are written independently of the code that migrates. Units it imports.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import balena_migrate
from balena_migrate.core import balena, units
from balena_migrate.devices import device_types, slug_of

ROOT = Path(balena_migrate.__file__).parent
BALENA_NAMES = {value for name, value in vars(balena).items() if name.isupper()}
UNITS = {name for name in vars(units) if name.isupper()}
SETTINGS = "settings.py"
"""Has two of these names for reasons of its own: the default of BACKUP_FILE, and an example of CONFIG_JSON."""

SLEEPS = {
    "core/retry.py": "waits for another try",
    "cli/verbs/run.py": "gives the user time to stop the reboot",
    "workstation/lab/faults/play.py": "lets the disk fail for a while",
}
"""Module -> what it waits for."""

REAL_PATHS = {
    "core/system.py": "is the door",
    "carried/backup/tree.py": "walks every file of the device, and looks up none of them twice",
    "cli/verbs/run.py": "logging opens its file by itself",
    "core/efi_variables.py": "the kernel takes a variable in one write, and nothing is renamed",
    "initramfs/initramfs_tools/__init__.py": "shutil copies whole folders",
    "survey.py": "an image is read by its path, on a workstation too",
}
"""Module -> why it asks a System where a file really is."""

RENAMES = {"core/system.py": "replaces and moves files", "workstation/cache.py": "keeps only what was made whole"}
"""Module -> why it renames."""

SHIFTS = {"workstation/lab/lookalike/bundle.py": "has an address"}
"""Module -> what it shifts."""


@functools.cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    """Path and syntax of each module."""
    paths = sorted(ROOT.rglob("*.py"))
    return tuple((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))) for path in paths)


def spelled(tree: ast.Module) -> set[str]:
    """Every text in the module, also a part of an f-string; a slash at its ends does not make another name of it."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value.strip("/") for value in constants if isinstance(value, str)}


def assigned(tree: ast.Module) -> set[str]:
    """Every name that gets a value, without the underscore of a private one."""
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return {name.id.removeprefix("_") for name in names}


def test_balenas_names_are_spelled_once() -> None:
    elsewhere = {
        path: found
        for path, tree in sources()
        if path not in ("core/balena.py", SETTINGS) and not path.startswith("workstation/lab/")
        if (found := spelled(tree) & BALENA_NAMES)
    }
    assert elsewhere == {}


def test_units_are_defined_once() -> None:
    elsewhere = {path for path, tree in sources() if path != "core/units.py" and assigned(tree) & UNITS}
    assert elsewhere == set()


def test_units_are_not_spelled_as_shifts() -> None:
    shift = re.compile(r" << (10|20|30)\b")
    assert {path for path, tree in sources() if shift.search(ast.unparse(tree))} == {"core/units.py", *SHIFTS}


def test_every_alias_of_a_device_type_leads_to_its_slug() -> None:
    for device in device_types():
        assert {slug_of(name) for name in device.names} == {device.slug}
    assert slug_of("raspberrypi2") == "raspberry-pi2"
    assert slug_of("no-such-type") == "no-such-type"


def test_one_loop_waits_for_another_try() -> None:
    sleepers = {
        path
        for path, tree in sources()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "sleep")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "sleep" for alias in node.names))
    }
    assert sleepers == set(SLEEPS)


def test_files_are_reached_through_the_system() -> None:
    askers = {
        path
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "real"
    }
    assert askers == set(REAL_PATHS)


def test_progress_is_reported_in_one_way() -> None:
    """The shapes of core.progress have names there; elsewhere nobody spells them."""
    shapes = re.compile(r"Callable\[\[(str|int, int)\], None\]")
    assert {path for path, tree in sources() if shapes.search(ast.unparse(tree))} == {"core/progress.py"}


def test_one_class_hashes_what_passes() -> None:
    """Content that is in memory as a whole may be hashed anywhere, as hashlib.sha256(content)."""
    in_parts = re.compile(r"hashlib\.sha256(?!\([^)])")
    assert {path for path, tree in sources() if in_parts.search(ast.unparse(tree))} == {"core/digest.py"}


def test_one_place_writes_beside_and_renames() -> None:
    renaming = re.compile(r"\bos\.(rename|replace|link)\(|\.rename\(")
    assert {path for path, tree in sources() if renaming.search(ast.unparse(tree))} == set(RENAMES)
