# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pi 1, Zero, Zero W and Compute Module 1."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberry-pi",
    name="Raspberry Pi 1, Zero, Zero W and Compute Module 1",
    matches=is_board(Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1, Model.ZERO, Model.ZERO_W),
    firmware=(Firmware.RASPBERRY_PI,),
    aliases=("raspberrypi",),
    image_tags=("raspberry-pi1", "raspberrypi1"),
    tested="QEMU raspi0 with a stand-in for the firmware, Debian 12",
)
