# SPDX-License-Identifier: Apache-2.0
"""Every code of a finding is declared beside the check that makes it, once, with its severities; and none else."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import balena_migrate
from balena_migrate import checks
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Severity

SOURCE = Path(balena_migrate.__file__).parent
SEVERITIES = {
    "blocker": BLOCKS,
    "warning": WARNS,
    "passed": PASSES,
    "untested": BLOCKS + WARNS,
    "make": BLOCKS + WARNS,
}
"""The functions that make findings; `make` is one of two, chosen before."""


def made_in(text: str) -> Iterator[tuple[str, tuple[Severity, ...]]]:
    """A pattern for the code, and the severities, of each place that makes findings. Fails where no code is there."""
    tree = ast.parse(text)
    declarations = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in SEVERITIES]
    inside = {id(node) for declaration in declarations for node in ast.walk(declaration)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or id(node) in inside:
            continue
        assert node.func.id != "Finding", f"line {node.lineno}: use blocker, warning or passed"
        if node.func.id in SEVERITIES:
            position = 1 if node.func.id == "untested" else 0
            yield pattern(node.args[position]), SEVERITIES[node.func.id]


def pattern(argument: ast.expr) -> str:
    if isinstance(argument, ast.JoinedStr):
        return "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else r"[\w-]+" for p in argument.values)
    assert isinstance(argument, ast.Constant), f"line {argument.lineno}: the code has to be a text"
    return re.escape(str(argument.value))


def test_codes_are_found_in_a_source() -> None:
    text = "yield blocker('a-b', 'x')\nfor k in z:\n  yield warning(f'{k}-c', 'x')\nuntested(config, 'd', '')"
    assert sorted(made_in(text)) == [(r"[\w-]+\-c", WARNS), (r"a\-b", BLOCKS), ("d", BLOCKS + WARNS)]
    with pytest.raises(AssertionError, match="line 1"):
        list(made_in("blocker(code, 'x')"))
    with pytest.raises(AssertionError, match="line 1"):
        list(made_in("Finding(code='x')"))


def test_every_code_is_declared_with_its_severities_and_none_else_is() -> None:
    declared = {code.code: set(code.severities) for code in checks.codes()}
    made: dict[str, set[Severity]] = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        if "balena_migrate.findings import" not in text or path.name == "findings.py":
            continue
        for code, severities in made_in(text):
            matching = [name for name in declared if re.fullmatch(code, name)]
            assert matching, f"{path}: {code} is not declared"
            for name in matching:
                made[name] |= set(severities)
    assert dict(made) == declared


def test_a_code_stands_in_one_table_once_and_says_what_it_means() -> None:
    found = checks.codes()
    assert len({code.code for code in found}) == len(found) > 80
    for code in found:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+|-TYPE)*", code.code)
        assert code.meaning.endswith(".")
        assert not code.remedy or code.remedy.endswith(".")
