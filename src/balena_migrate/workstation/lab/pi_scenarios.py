# SPDX-License-Identifier: Apache-2.0
"""The rehearsals on virtual Raspberry Pis, by name."""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.steps import Step, started
from balena_migrate.workstation.lab.lookalike import ImageSpec, find_spec
from balena_migrate.workstation.lab.pi_cards import RASPBERRYPI2, RASPBERRYPI3_64, RASPBERRYPI_ZERO
from balena_migrate.workstation.lab.pi_rehearsal import PiScenario

MIB = 1 << 20


def _small(name: str) -> ImageSpec:
    """The image with smaller partitions: QEMU has to translate whoever reads, writes and checks them."""
    return replace(find_spec(name), root_bytes=64 * MIB, data_bytes=64 * MIB)


CUT_STAGE1 = ("make the initramfs of stage 2", 1)
CUT_STAGE2 = (started(Step.SECURE), 2)

_BOARDS = (
    PiScenario(
        name="raspberrypi3-64",
        description="a Raspberry Pi 3 with a 64-bit Debian 12",
        guest=RASPBERRYPI3_64,
        image=_small("raspberrypi3-64"),
    ),
    PiScenario(
        name="raspberrypi2",
        description="a Raspberry Pi 2 with a 32-bit Debian 12",
        guest=RASPBERRYPI2,
        image=_small("raspberry-pi2"),
    ),
    PiScenario(
        name="raspberrypi-zero",
        description="a Raspberry Pi Zero (ARMv6) with Debian 12",
        guest=RASPBERRYPI_ZERO,
        image=_small("raspberry-pi"),
    ),
)

_USERLAND_32 = PiScenario(
    name="raspberrypi3-64-userland-32",
    description="a Raspberry Pi 3 with a 32-bit Debian 12 above a 64-bit kernel",
    guest=replace(RASPBERRYPI3_64, name="raspberrypi3-64-userland-32", userland="armhf"),
    image=_small("raspberrypi3-64"),
)


def _variants(board: PiScenario) -> tuple[PiScenario, ...]:
    text, start = CUT_STAGE1
    cut1 = replace(
        board,
        name=f"{board.name}-cut-stage1",
        description=f"{board.description}: the power goes before stage 1 changes what boots",
        cut=text,
        cut_start=start,
    )
    text, start = CUT_STAGE2
    cut2 = replace(
        board,
        name=f"{board.name}-cut-stage2",
        description=f"{board.description}: the power goes in stage 2, before the line",
        cut=text,
        cut_start=start,
    )
    back = replace(
        board,
        name=f"{board.name}-no-flash",
        description=f"{board.description}: NO_FLASH, back to the old system",
        no_flash=True,
    )
    return (board, back, cut1, cut2)


_ALL = (*(scenario for board in _BOARDS for scenario in _variants(board)), _USERLAND_32)
PI_SCENARIOS = {scenario.name: scenario for scenario in _ALL}
