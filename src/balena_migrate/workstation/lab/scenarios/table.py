# SPDX-License-Identifier: Apache-2.0
"""All scenarios by name."""

from __future__ import annotations

from balena_migrate.core.errors import UsageError
from balena_migrate.workstation.lab.scenarios import Scenario, pc, pc_uefi, raspberrypi

DEFAULT_SCENARIO = "pc-bios"
SCENARIOS = {scenario.name: scenario for scenario in (*pc.SCENARIOS, *pc_uefi.SCENARIOS, *raspberrypi.SCENARIOS)}


def find_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises UsageError, which lists all names."""
    if name not in SCENARIOS:
        raise UsageError(f"unknown scenario {name!r}", hint="one of " + ", ".join(SCENARIOS))
    return SCENARIOS[name]


def shares_stage1(scenario: Scenario) -> bool:
    """Whether another scenario starts with the same stage 1."""
    armed_by = scenario.armed_by
    return armed_by is not None and any(
        other.name != scenario.name and other.armed_by == armed_by for other in SCENARIOS.values()
    )
