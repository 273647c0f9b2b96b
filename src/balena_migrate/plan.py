# SPDX-License-Identifier: Apache-2.0
"""The plan: every change in order, how it is undone, where the line is, and what follows it.

A pure function of the accepted survey. `run` applies the same objects that `plan` prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from balena_migrate.bootloaders import passed_over
from balena_migrate.bootloaders.arguments import Arguments
from balena_migrate.checks.image import prepared_text
from balena_migrate.checks.strategy import expected_sizes
from balena_migrate.core.changes import Action
from balena_migrate.core.efi_variables import is_variable, variable_name
from balena_migrate.images.window import expected_window, medium_of
from balena_migrate.strategies import strategy_named
from balena_migrate.survey import Accepted


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`actions` come first, `boot_actions` last: only they change what boots next."""

    actions: tuple[Action, ...]
    boot_actions: tuple[Action, ...]
    target: str
    one_shot: bool
    reboot_argument: str
    arguments: Arguments | None = None
    """Which of the old system's arguments stage 2's kernel gets; None where they are not certain."""
    if_not_loaded: str
    """What happens where the boot loader cannot load our initramfs, in words."""
    passed_over: tuple[str, ...] = ()
    """Why stage 2 is not started by what would usually start it on such a device."""
    no_flash: bool
    window_s: float
    """How long the part after the line is expected to take."""
    window_text: str
    image: str
    """Why stage 1 prepares the image, in words; empty where it does not."""
    initramfs: str
    """What the initramfs of stage 2 gets, and how it is made."""
    memory: str
    """What stage 2 needs memory for, and what the device has, in words."""
    before: str
    """What stage 2 does before it lets go of the old system, in words."""
    after: tuple[str, ...]
    """What stage 2 does after the line, in words."""
    power_cut: str
    """What a power cut after the line leaves, in words."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the plan as a person reads it."""

    title: str
    lines: tuple[str, ...] = ()


def make_plan(accepted: Accepted, actions: tuple[Action, ...], boot_actions: tuple[Action, ...]) -> Plan:
    """The plan for an accepted device, without the boot change where NO_SETUP is set."""
    image, target, loader = accepted.image, accepted.target, accepted.boot_loader
    strategy = strategy_named(accepted.config.strategy)
    seconds, text = expected_window(medium_of(target.path), image.write_bytes, accepted.survey.backup_bytes)
    return Plan(
        actions=actions,
        boot_actions=() if accepted.config.no_setup else boot_actions,
        target=target.path,
        one_shot=loader.one_shot(accepted.facts),
        reboot_argument=loader.reboot_argument(accepted.facts),
        arguments=loader.arguments(accepted.facts),
        if_not_loaded=loader.if_not_loaded(accepted.facts),
        passed_over=tuple(f"{loader.name} starts stage 2, as {other.reason}." for other in passed_over(accepted.facts)),
        no_flash=accepted.config.no_flash,
        window_s=seconds,
        window_text=f"{text}, a conservative estimate for {target.path}",
        image=prepared_text(accepted.survey),
        initramfs=accepted.survey.initramfs.text,
        memory=strategy.memory_need(image, accepted.facts.memory.total_bytes, expected_sizes(accepted.survey)).text,
        before=strategy.before_the_line,
        after=strategy.after_the_line(accepted),
        power_cut=strategy.power_cut,
    )


def describe(plan: Plan) -> str:
    """The plan for a person: sections, separated by empty lines."""
    return "\n\n".join("\n".join((section.title, *section.lines)) for section in sections(plan))


def sections(plan: Plan) -> Iterator[Section]:
    """The plan in the order in which it happens."""
    yield Section(title="Stage 1, now; balena-migrate undo reverts all of it:", lines=_changes(plan))
    if plan.image:
        yield Section(title=f"The image: {plan.image}.")
    yield Section(title=f"The initramfs: {plan.initramfs}.")
    yield Section(title=f"Memory: {plan.memory}.")
    yield Section(title=f"A power cut between here and stage 2's first step {_after_power_cut(plan)}.")
    if plan.reboot_argument:
        yield Section(
            title=f'Only `reboot "{plan.reboot_argument}"` starts stage 2; any other reboot starts the old system.'
        )
    for text in plan.passed_over:
        yield Section(title=text)
    if plan.arguments:
        yield Section(title="Stage 2's kernel gets of the old system's arguments:", lines=_arguments(plan.arguments))
    if plan.boot_actions:
        yield Section(title=plan.if_not_loaded)
    before = f"      {plan.before}"
    leave = "      unmount the old system"
    title = "Stage 2, after the reboot, from memory; any error here leads back to the old system:"
    if plan.no_flash:
        yield Section(
            title=title, lines=(before, "      NO_FLASH is set: stage 2 ends here and returns to the old system")
        )
        yield Section(title="With NO_FLASH=FALSE it would continue:", lines=(leave,))
    else:
        yield Section(title=title, lines=(before, leave))
    yield Section(title="==== the line: from here on there is no way back ====")
    yield Section(title="Stage 2, after the line:", lines=tuple(f"      {text}" for text in plan.after))
    window = f"The part after the line takes about {plan.window_s:.0f} s: {plan.window_text}."
    yield Section(title=f"{window} {plan.power_cut}.")


def _changes(plan: Plan) -> tuple[str, ...]:
    actions = enumerate((*plan.actions, *plan.boot_actions), start=1)
    lines = tuple(f"  {number:2}. {action.title} ({_shown(action.path)})" for number, action in actions)
    return lines if plan.boot_actions else (*lines, "      NO_SETUP is set: what boots next is not changed")


def _shown(path: str) -> str:
    """A variable by the name that the firmware has for it: its path in efivarfs is long, and says no more."""
    return f"its variable {variable_name(path)}" if is_variable(path) else path


def _arguments(arguments: Arguments) -> tuple[str, ...]:
    kept = " ".join(arguments.kept) or "none"
    left_out = (f"      without {argument.argument}: {argument.reason}" for argument in arguments.left_out)
    return (f"      {kept}", *left_out)


def _after_power_cut(plan: Plan) -> str:
    if plan.one_shot:
        return "boots the old system"
    return "starts stage 2 once more; only stage 2 restores the boot configuration"
