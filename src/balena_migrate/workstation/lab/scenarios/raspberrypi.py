# SPDX-License-Identifier: Apache-2.0
"""The rehearsals on Raspberry Pis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.acts import Act, CheckedTwice, Damaged, FallsBack, Stage1, Stage2Dies
from balena_migrate.workstation.lab.damage import OTHER_UUID, Damage
from balena_migrate.workstation.lab.guests.debian_pi import (
    RASPBERRYPI2,
    RASPBERRYPI3_64,
    RASPBERRYPI3_64_BUILT_IN,
    RASPBERRYPI_ZERO,
    DebianPi,
)
from balena_migrate.workstation.lab.lookalike import find_spec
from balena_migrate.workstation.lab.scenarios import (
    BACK,
    CUT_STAGE1,
    CUT_STAGE2,
    LOST_START,
    MEMORY_LIMIT,
    MIGRATION,
    NO_FLASH,
    UNDO,
    Scenario,
)
from balena_migrate.workstation.lab.wishes import Device, Wishes

_PUT_BACK = Stage2Dies(shows=r"config\.txt is as it was before stage 1")
"""What only init's own way back prints; that it is true, the look at the next boot shows."""
_RESTORED = rf"(?s)going back to the old system: no file system has the UUID {OTHER_UUID}.*?config\.txt: done"


def _small(guest: DebianPi, image: str) -> Device:
    """The image has smaller partitions, with fewer files: under emulation, writing and checking them is slow."""
    return Device(guest=guest, image=replace(find_spec(image), root_bytes=40 * MIB, data_bytes=40 * MIB))


def _family(board: Scenario, *, in_tests: bool) -> Iterator[Scenario]:
    """The board's migration, which ./test runs or not, and all its other endings."""

    def variant(ending: str, description: str, acts: tuple[Act, ...], wishes: Wishes = board.wishes) -> Scenario:
        return replace(
            board,
            name=f"{board.name}-{ending}",
            description=f"{board.description}: {description}",
            wishes=wishes,
            acts=acts,
        )

    yield replace(board, in_tests=in_tests)
    yield variant(
        "cut-stage2",
        "power cut in stage 2, before the line; undo reverts everything",
        acts=CUT_STAGE2,
    )
    yield variant(
        "cut-stage1",
        "power cut while stage 1 builds the initramfs; undo reverts everything",
        acts=CUT_STAGE1,
    )
    yield variant(
        "no-flash",
        "NO_FLASH, return to the old system",
        wishes=Wishes(settings={"NO_FLASH": "TRUE"}),
        acts=NO_FLASH,
    )
    yield variant(
        "undo",
        "undo before the reboot reverts everything",
        acts=UNDO,
    )


def _lost_start(board: Scenario, ending: str, description: str, how: Damage, *acts: Act) -> Scenario:
    """A start of stage 2 that comes to nothing: the old system comes up by itself, and `status` knows."""
    name, description = f"{board.name}-{ending}", f"{board.description}: {description}"
    return replace(board, name=name, description=description, acts=(Stage1(), Damaged(how=how), *acts))


PI3_64 = Scenario(
    name="raspberrypi3-64",
    description="Raspberry Pi 3, 64-bit Debian 12",
    device=_small(RASPBERRYPI3_64, "raspberrypi3-64"),
)
PI3_64_LARGE = replace(
    PI3_64,
    name="raspberrypi3-64-large",
    description="the same board, with an image of the usual size",
    device=Device(guest=RASPBERRYPI3_64, image=find_spec("raspberrypi3-64")),
)
PI3_64_CHECK = replace(
    PI3_64_LARGE,
    name="raspberrypi3-64-check",
    description="the same board: the second of two checks knows the image from the first",
    acts=(CheckedTwice(),),
)
PI2 = Scenario(
    name="raspberrypi2",
    description="Raspberry Pi 2, 32-bit Debian 12",
    device=_small(RASPBERRYPI2, "raspberry-pi2"),
)
PI_ZERO = Scenario(
    name="raspberrypi-zero",
    description="Raspberry Pi Zero (ARMv6), Debian 12",
    device=_small(RASPBERRYPI_ZERO, "raspberry-pi"),
)
USERLAND_32 = Scenario(
    name="raspberrypi3-64-userland-32",
    description="Raspberry Pi 3, 32-bit Debian 12 with a 64-bit kernel",
    device=_small(replace(RASPBERRYPI3_64, name="raspberrypi3-64-userland-32", userland="armhf"), "raspberrypi3-64"),
)

NO_INITRAMFS = Scenario(
    name="raspberrypi3-64-no-initramfs",
    description="Raspberry Pi 3, 64-bit Debian 12 that starts without an initramfs and has no tools to make one",
    device=_small(RASPBERRYPI3_64_BUILT_IN, "raspberrypi3-64"),
)

LOST_STARTS = (
    _lost_start(
        PI2,
        "torn-initramfs",
        "the initramfs is torn: what the kernel can unpack of it puts config.txt back, and reboots into the old system",
        Damage.TORN,
        _PUT_BACK,
        *LOST_START,
    ),
    _lost_start(
        PI2,
        "no-library",
        "a library of the kit is missing: init puts config.txt back, and reboots into the old system",
        Damage.NO_LIBRARY,
        _PUT_BACK,
        *BACK,
    ),
    _lost_start(
        PI2,
        "no-root",
        "stage 2 finds no old root: it restores config.txt, and reboots into the old system",
        Damage.NO_ROOT,
        Stage2Dies(shows=_RESTORED),
        *BACK,
    ),
    _lost_start(
        PI3_64,
        "no-python",
        "Python cannot start: init puts config.txt back, and reboots into the old system",
        Damage.NO_PYTHON,
        _PUT_BACK,
        *BACK,
    ),
    _lost_start(
        NO_INITRAMFS,
        "emptied",
        "nearly nothing is left of stage 2's, and the kernel, which has its drivers built in, starts the old system",
        Damage.EMPTIED,
        FallsBack(shows="Initramfs unpacking failed"),
        *LOST_START,
    ),
)

MEMORY_LIMITS = tuple(
    replace(
        board,
        name=f"{board.name}-memory-limit",
        description=f"{board.description}, with 256 MiB: 32 MiB more data than `check` accepts: stage 1 refuses; then "
        "as many as it accepts",
        device=replace(board.device, memory_mib=256),
        expect=replace(board.expect, grows_data=True),
        acts=(*MEMORY_LIMIT, *MIGRATION),
    )
    for board in (PI2, PI_ZERO)
)

SCENARIOS = (
    *_family(PI3_64, in_tests=True),
    *_family(PI2, in_tests=False),
    *_family(PI_ZERO, in_tests=True),
    PI3_64_LARGE,
    PI3_64_CHECK,
    USERLAND_32,
    NO_INITRAMFS,
    *LOST_STARTS,
    *MEMORY_LIMITS,
)
