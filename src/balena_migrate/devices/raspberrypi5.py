# SPDX-License-Identifier: Apache-2.0
"""The fifth generation: 64-bit image."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberrypi5",
    name="Raspberry Pi 5, 500 and Compute Module 5",
    matches=is_board(Model.FIVE, Model.FIVE_HUNDRED, Model.CM5, Model.CM5_LITE),
    firmware=(Firmware.RASPBERRY_PI,),
)
