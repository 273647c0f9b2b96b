# SPDX-License-Identifier: Apache-2.0
"""The Zero with the third generation's chip: 64-bit image."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberrypi0-2w-64",
    name="Raspberry Pi Zero 2 W",
    matches=is_board(Model.ZERO_2_W),
    firmware=(Firmware.RASPBERRY_PI,),
)
