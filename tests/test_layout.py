# SPDX-License-Identifier: Apache-2.0
"""The tree of the tests: it mirrors the source, what tests share is in tests/support, every file names its licence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TOP = TESTS.parent
SOURCE = TOP / "src" / "balena_migrate"
SEVERAL_PARTS = ("fuzz", "loop", "vm")
"""Tests of several parts at once: by damaged input, with loop devices (as root), in a virtual device."""
LICENCE = "# SPDX-License-Identifier: Apache-2.0"
SCRIPTS = ("bench", "rehearse", "test", "tools/setup", ".ci/run")


def sources() -> list[Path]:
    """All Python and shell files of the project."""
    folders = [TOP / name for name in ("src", "tests", "tools")]
    found = [path for folder in folders for suffix in ("py", "sh") for path in folder.rglob(f"*.{suffix}")]
    return sorted([*found, *(TOP / name for name in SCRIPTS)])


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it; of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_file_imports_from_another(path: Path) -> None:
    """What two of them need is in tests/support, or in the folder whose samples it describes."""
    ours = [name for name in imports(path) if name.partition(".")[0] == "tests"]
    assert [name for name in ours if re.search(r"\.(test_|conftest\b)", name)] == []


def test_every_folder_of_tests_is_named_after_one_of_the_source() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    folders -= {Path(name) for name in SEVERAL_PARTS}
    assert len(folders) > 10
    assert sorted(folder for folder in folders if not (SOURCE / folder).is_dir()) == []


def test_every_source_file_begins_with_its_licence() -> None:
    """After the line that names the interpreter, where there is one."""
    found = sources()
    assert len(found) > 200
    lines = {path: path.read_text().splitlines() for path in found}
    heads = {path: next((line for line in text[:2] if not line.startswith("#!")), "") for path, text in lines.items()}
    assert [str(path.relative_to(TOP)) for path, head in heads.items() if head != LICENCE] == []
