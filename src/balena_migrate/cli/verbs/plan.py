# SPDX-License-Identifier: Apache-2.0
"""`balena-migrate plan`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rich_click as click

from balena_migrate.cli.options import device_system, fresh_option, json_option, settings_options
from balena_migrate.cli.output import print_json
from balena_migrate.core.changes import Action, ActionName
from balena_migrate.findings import Finding

if TYPE_CHECKING:
    from balena_migrate.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change that stage 1 makes, and that `undo` rolls back."""

    name: ActionName
    """Stable, and in the journal, too; the title is for people."""
    title: str
    path: str
    """The file or folder that is changed."""


@dataclass(frozen=True, kw_only=True)
class OmittedArgument:
    """An argument of the old system that stage 2's kernel does not get."""

    argument: str
    reason: str
    """Why not, in words."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What `run` does, in order, and what stage 2 does after it."""

    actions: tuple[Change, ...]
    """Everything but what boots next."""
    boot_actions: tuple[Change, ...]
    """What changes the next boot; empty with NO_SETUP."""
    initramfs: str
    """What the initramfs of stage 2 gets, and how it is made, in words."""
    memory: str
    """What stage 2 needs memory for, and what the device has, in words."""
    target: str
    """The disk that gets the image."""
    one_shot: bool
    """Whether a power cut before stage 2's first step boots the old system."""
    reboot_argument: str
    """The argument with which `reboot` starts stage 2; "" for none."""
    arguments: tuple[str, ...]
    """The old system's arguments that stage 2's kernel gets."""
    omitted_arguments: tuple[OmittedArgument, ...]
    """The others."""
    if_not_loaded: str
    """What happens where the boot loader cannot load stage 2's initramfs, in words."""
    no_flash: bool
    """Whether stage 2 ends before the flash."""
    after_the_line: tuple[str, ...]
    """What stage 2 does once the first byte of the old system is overwritten, in words."""
    window_s: float
    """How long that is expected to take."""
    power_cut: str
    """What a power cut in it leaves, in words."""


@dataclass(frozen=True, kw_only=True)
class PlanOutput:
    """Every change that `run` would make."""

    plan: Planned
    findings: tuple[Finding, ...]
    format: int = 1


DOCUMENT = PlanOutput


@click.command()
@settings_options()
@fresh_option
@json_option
def plan(config_file: str | None, fresh: bool, as_json: bool, **flags: str | None) -> None:
    """Print every change that `run` would make; change nothing."""
    from balena_migrate.cli.device import prepare, surveyed
    from balena_migrate.plan import describe

    with surveyed(device_system(), config_file, flags, fresh=fresh) as survey:
        made, findings = prepare(survey, as_json=as_json)
    if as_json:
        print_json(PlanOutput(plan=planned(made), findings=findings))
    else:
        click.echo(describe(made))


def planned(plan: Plan) -> Planned:
    """The plan for a machine."""
    left_out = plan.arguments.left_out if plan.arguments else ()
    return Planned(
        actions=changes(plan.actions),
        boot_actions=changes(plan.boot_actions),
        initramfs=plan.initramfs,
        memory=plan.memory,
        target=plan.target,
        one_shot=plan.one_shot,
        reboot_argument=plan.reboot_argument,
        arguments=plan.arguments.kept if plan.arguments else (),
        omitted_arguments=tuple(OmittedArgument(argument=left.argument, reason=left.reason) for left in left_out),
        if_not_loaded=plan.if_not_loaded,
        no_flash=plan.no_flash,
        after_the_line=plan.after,
        window_s=plan.window_s,
        power_cut=plan.power_cut,
    )


def changes(actions: Iterable[Action]) -> tuple[Change, ...]:
    """The actions, without their content, which may be secret."""
    return tuple(Change(name=action.name, title=action.title, path=action.path) for action in actions)
