# SPDX-License-Identifier: Apache-2.0
"""A device type of its own for a board that raspberrypi4-64 covers as well."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberrypi400-64",
    name="Raspberry Pi 400",
    matches=is_board(Model.FOUR_HUNDRED),
    firmware=(Firmware.RASPBERRY_PI,),
)
