# SPDX-License-Identifier: Apache-2.0
"""The first generation: ARMv6, so its image and the kit for it are 32-bit (armel)."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType, Tested
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberry-pi",
    name="Raspberry Pi 1, Zero, Zero W and Compute Module 1",
    matches=is_board(Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1, Model.ZERO, Model.ZERO_W),
    firmware=(Firmware.RASPBERRY_PI,),
    aliases=("raspberrypi",),
    image_tags=("raspberry-pi1", "raspberrypi1"),
    tested=(
        Tested(
            machine="QEMU raspi0 (ARMv6), SD card",
            firmware="a stand-in for the Pi's firmware",
            system="Debian 12 armel",
            what="full migration; NO_FLASH; power cut in stage 1, and in stage 2 before the line",
        ),
    ),
)
