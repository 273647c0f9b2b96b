# SPDX-License-Identifier: Apache-2.0
"""The scenarios: one table. Each says what is on the device, what is asked for, and how it has to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from balena_migrate.core.errors import UsageError
from balena_migrate.core.steps import Step
from balena_migrate.workstation.lab import networked
from balena_migrate.workstation.lab.guests import DEBIAN_12, Guest
from balena_migrate.workstation.lab.networked import ExpectedProfile
from balena_migrate.workstation.lab.owner import WifiNetwork

DEFAULT_SCENARIO = "pc-bios"


class Ending(StrEnum):
    """How a scenario has to end."""

    NEW_SYSTEM = "the new system boots and reports"
    OLD_SYSTEM = "stage 2 comes back to the old system"
    REFUSED = "stage 1 refuses and changes nothing"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A device, what its owner wants, and what has to come of it.

    `settings` go over the default ones; `image_part` is the part of the image file that is there; in stage 2 the
    device may have less memory than in stage 1. `finding` is the code of the finding that refuses.
    """

    name: str
    description: str
    ending: Ending = Ending.NEW_SYSTEM
    guest: Guest = DEBIAN_12
    image: str = "intel-nuc"
    image_part: float = 1.0
    composed_files: tuple[str, ...] = ()
    """Files of the image's boot partition that the migration has to make or replace, besides its own."""
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """What else is on the device; root's alone, but for what is there anyhow."""
    netplan_networks: frozenset[WifiNetwork] = frozenset()
    """Those of `files`, where they stand in netplan's form."""
    profiles: tuple[ExpectedProfile, ...] = ()
    """What the image's NetworkManager has to load, where it brings one along."""
    proxy: Mapping[str, str] = field(default_factory=dict)
    """What redsocks.conf in resin-boot has to say."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Folder of the device -> its place in the backup; none for a plain backup, which keeps paths as they are."""
    memory_mib: int = 1024
    stage2_memory_mib: int | None = None
    data_mib: int = 0
    """More data to keep, which do not compress."""
    disk_mib: int = 4096
    finding: str = ""
    kept: Mapping[str, object] = field(default_factory=dict)
    """What KEEP has to bring into config.json."""
    machine_id: str = ""
    """The one that KEEP has to bring into resin-state; "" where it is not asked for."""
    grows_data: bool = False
    """Whether the backup does not fit into resin-data as the image brings it."""
    outcome_step: Step | None = None
    """The step of stage 2 that has to fail."""


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="pc-bios",
            description="a PC with BIOS and GRUB, Debian 12, to a current image for intel-nuc",
        ),
        Scenario(
            name="pc-bios-2.15",
            description="the same PC to an image of 2018, which brings no boot loader for BIOS",
            image="intel-nuc-2.15",
            composed_files=("grub/grub.cfg",),
        ),
        Scenario(
            name="pc-network",
            description="all network settings, for a real NetworkManager; volumes and a plain backup; what KEEP keeps",
            image="intel-nuc-network",
            composed_files=("system-proxy/redsocks.conf",),
            settings={
                "BACKUP_DIRECTORIES": "/etc",
                "BACKUP_VOLUMES": networked.VOLUMES_NAME,
                "KEEP": "hostname ssh-keys time-servers dns-servers country machine-id",
            },
            files=networked.FILES,
            netplan_networks=frozenset(networked.NETPLAN_NETWORKS),
            profiles=networked.PROFILES,
            proxy=networked.PROXY_SETTINGS,
            volumes=networked.VOLUMES,
            kept=networked.KEPT,
            machine_id=networked.MACHINE_ID,
        ),
        Scenario(
            name="pc-large-backup",
            description="a backup that is larger than the image's resin-data, which stage 2 grows before it copies it",
            data_mib=240,
            grows_data=True,
        ),
        Scenario(
            name="pc-no-flash",
            description="NO_FLASH=TRUE: stage 2 runs up to the line, and the old system is back, unchanged",
            ending=Ending.OLD_SYSTEM,
            settings={"NO_FLASH": "TRUE"},
        ),
        Scenario(
            name="pc-image-cut",
            description="the image's download broke off: stage 1 refuses",
            ending=Ending.REFUSED,
            image_part=0.6,
            finding="image",
        ),
        Scenario(
            name="pc-low-memory",
            description="too little memory for the backup and the image: stage 1 refuses",
            ending=Ending.REFUSED,
            memory_mib=384,
            data_mib=300,
            finding="memory-too-small",
        ),
        Scenario(
            name="pc-low-memory-stage2",
            description="stage 2 finds less memory than stage 1 saw: the old system is back, and knows why",
            ending=Ending.OLD_SYSTEM,
            memory_mib=1024,
            stage2_memory_mib=192,
            outcome_step=Step.SECURE,
        ),
        Scenario(
            name="pc-wrong-image",
            description="an image for a Raspberry Pi: stage 1 refuses",
            ending=Ending.REFUSED,
            image="raspberrypi3",
            finding="image-device-type",
        ),
    )
}


def find_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises UsageError, which names all that there are."""
    if name not in SCENARIOS:
        raise UsageError(f"there is no scenario {name!r}", hint="one of " + ", ".join(SCENARIOS))
    return SCENARIOS[name]
