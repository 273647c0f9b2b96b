# SPDX-License-Identifier: Apache-2.0
"""The second generation: ARMv7, 32-bit."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType, Tested
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberry-pi2",
    name="Raspberry Pi 2",
    matches=is_board(Model.TWO_B),
    firmware=(Firmware.RASPBERRY_PI,),
    aliases=("raspberrypi2",),
    tested=(
        Tested(
            machine="QEMU raspi2b, SD card",
            firmware="a stand-in for the Pi's firmware",
            system="Debian 12 armhf",
            what=(
                "full migration; NO_FLASH; power cut in stage 1, and in stage 2 before the line; back in the old system"
                " by itself after an initramfs that is torn, and a stage 2 that finds no library or no old root"
            ),
        ),
    ),
)
