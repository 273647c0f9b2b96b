# SPDX-License-Identifier: Apache-2.0
"""The scenarios: a device, what its owner wants, the acts, and the expected result. One table for each family.

Scenarios with the same device and wishes that start with Stage1() share a disk: stage 1 runs once for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from balena_migrate.core.changes import ActionName
from balena_migrate.core.steps import Step
from balena_migrate.settings import Config
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.acts import (
    MEMORY_TOO_SMALL,
    Act,
    DataGrow,
    NewSystem,
    OldSystem,
    PowerCut,
    Refused,
    Stage1,
    Stage2,
    Status,
    Undo,
)
from balena_migrate.workstation.lab.wishes import Device, Expect, Wishes

MIGRATION: tuple[Act, ...] = (Stage1(), Stage2(), NewSystem())
MEMORY_LIMIT: tuple[Act, ...] = (DataGrow(beyond_mib=32), Refused(finding=MEMORY_TOO_SMALL), DataGrow())
"""32 MiB more data than `check` accepts, which stage 1 refuses; then as many as it accepts."""
NO_FLASH: tuple[Act, ...] = (Stage1(), Stage2(comes_back=True), Status(state=DeviceState.NO_FLASH), OldSystem())
NO_SETUP: tuple[Act, ...] = (Stage1(), Status(state=DeviceState.PREPARED), OldSystem(at_once=True))
UNDO: tuple[Act, ...] = (
    Stage1(stays=True),
    Status(state=DeviceState.ARMED),
    Undo(),
    Status(state=DeviceState.UNDONE),
    OldSystem(at_once=True),
)
CUT_STAGE1: tuple[Act, ...] = (
    PowerCut(at=ActionName.INITRAMFS),
    Status(state=DeviceState.PARTLY),
    Undo(),
    OldSystem(at_once=True),
)
_NOT_STARTED = Status(state=DeviceState.NOT_STARTED)
LOST_START: tuple[Act, ...] = (_NOT_STARTED, Undo(), OldSystem(at_once=True))
"""A start of stage 2 came to nothing: the old system came up by itself, and knows."""
BACK: tuple[Act, ...] = (_NOT_STARTED, OldSystem(at_once=True))
"""The same, without an undo, which takes two more starts: others show that. Not for GRUB, whose files stage 2 or an
undo puts back."""
UNTIL_UNDO: tuple[Act, ...] = (*BACK, Undo(), OldSystem(at_once=True))
"""With a look at the old system as it is before the undo."""
CUT_STAGE2: tuple[Act, ...] = (Stage1(), PowerCut(at=Step.SECURE), *UNTIL_UNDO)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One rehearsal. With `in_tests`, it is part of ./test; ./rehearse --all runs every scenario."""

    name: str
    description: str
    device: Device
    wishes: Wishes = field(default_factory=Wishes)
    acts: tuple[Act, ...] = MIGRATION
    expect: Expect = field(default_factory=Expect)
    in_tests: bool = False

    @property
    def armed_by(self) -> tuple[Device, Wishes, Expect] | None:
        """What determines its disk after stage 1; None if the device is not off at that point."""
        return (self.device, self.wishes, self.expect) if self.acts[0] == Stage1() else None

    def acts_for(self, config: Config) -> tuple[Act, ...]:
        """The acts; those of NO_FLASH or NO_SETUP if the user's settings rule out the flash that is among them."""
        if NewSystem() not in self.acts:
            return self.acts
        return NO_SETUP if config.no_setup else NO_FLASH if config.no_flash else self.acts
