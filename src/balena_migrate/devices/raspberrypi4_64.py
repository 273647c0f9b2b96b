# SPDX-License-Identifier: Apache-2.0
"""The fourth generation: 64-bit image."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberrypi4-64",
    name="Raspberry Pi 4, 400 and Compute Module 4",
    matches=is_board(Model.FOUR_B, Model.FOUR_HUNDRED, Model.CM4, Model.CM4S),
    firmware=(Firmware.RASPBERRY_PI,),
)
