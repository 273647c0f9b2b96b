# SPDX-License-Identifier: Apache-2.0
"""Stage 2's steps: in the order in which it takes them, on the right side of the line, and spelled in one place."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import balena_migrate
from balena_migrate.core import steps
from balena_migrate.core.steps import Step, is_after_the_line
from balena_migrate.stage2 import boot, finish
from balena_migrate.stage2.strategies import default

SOURCE = Path(balena_migrate.__file__).parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != Path(steps.__file__))
SAID = re.compile(rf"\bstep ({'|'.join(Step)})\b")
NAMES = frozenset(step.value for step in Step)


SEQUENCE = "".join(inspect.getsource(module) for module in (boot, default, finish))
"""The start of a composed initramfs, and the default strategy, which ends in finish()."""


def taken(source: str) -> tuple[Step, ...]:
    """The steps in the order in which the text of stage 2's sequence takes them."""
    return tuple(Step[name] for name in re.findall(r"step\(Step\.(\w+)\)", source))


def test_the_steps_are_in_the_order_in_which_stage_2_takes_them() -> None:
    """REBOOT is main's, behind all of them."""
    assert (*taken(SEQUENCE), Step.REBOOT) == tuple(Step)


def test_the_steps_behind_the_line_are_those_behind_its_mark() -> None:
    before, mark, behind = SEQUENCE.partition("= the line =")
    assert mark
    assert not any(map(is_after_the_line, taken(before)))
    assert all(map(is_after_the_line, (*taken(behind), Step.REBOOT)))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_other_module_spells_a_step(path: Path) -> None:
    assert list(spelled(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "source",
    [
        'console.say("step reboot started")',
        'with step("mount"):\n    pass',
        'console.step("mount")',
        'AFTER = ("flash", "reread")',
        'Scenario(outcome_step="secure")',
        'if step == "flash":\n    pass',
    ],
)
def test_a_step_that_is_spelled_is_found(source: str) -> None:
    assert len(list(spelled(ast.parse(source)))) == 1


def spelled(tree: ast.Module) -> Iterator[str]:
    """Where a step is written out: in a line of the console, given or compared as a step, or two of them together."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found = SAID.search(node.value)
            names = {found[0]} if found else set()
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("step", "is_after_the_line", "console.step"):
            names = named(node.args)
        elif isinstance(node, ast.keyword) and "step" in (node.arg or ""):
            names = named([node.value])
        elif isinstance(node, ast.Compare) and "step" in ast.unparse(node.left):
            names = named(node.comparators)
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            names = named(node.elts)
            names = names if len(names) > 1 else set()
        else:
            continue
        if names:
            yield f"line {getattr(node, 'lineno', 0)}: {', '.join(sorted(names))}"


def named(nodes: list[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and node.value in NAMES}
