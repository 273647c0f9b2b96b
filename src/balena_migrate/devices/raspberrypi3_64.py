# SPDX-License-Identifier: Apache-2.0
"""The third generation with a 64-bit image."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType, Tested
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberrypi3-64",
    name="Raspberry Pi 3, 3+, 3A+ and Compute Module 3, with a 64-bit system",
    matches=is_board(Model.THREE_B, Model.THREE_B_PLUS, Model.THREE_A_PLUS, Model.CM3, Model.CM3_PLUS),
    firmware=(Firmware.RASPBERRY_PI,),
    tested=(
        Tested(
            machine="QEMU raspi3b, SD card",
            firmware="a stand-in for the Pi's firmware",
            system="Debian 12 arm64",
            what=(
                "full migration; NO_FLASH; power cut in stage 1, and in stage 2 before the line; back in the old system"
                " by itself after a stage 2 that finds no Python"
            ),
        ),
        Tested(
            machine="QEMU raspi3b, SD card",
            firmware="a stand-in for the Pi's firmware",
            system="Debian 12 armhf on a 64-bit kernel",
            what="full migration",
        ),
        Tested(
            machine="QEMU raspi3b, SD card",
            firmware="a stand-in for the Pi's firmware",
            system="Debian 12 arm64 without an initramfs and without tools for one, its root shown as /dev/root",
            what="full migration; back in the old system by itself after an initramfs that is empty",
        ),
    ),
)
