"""Raspberry Pi 4, 400 and Compute Module 4."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware
from balena_migrate.pi_board import Model

DEVICE_TYPE = DeviceType(
    slug="raspberrypi4-64",
    name="Raspberry Pi 4, 400 and Compute Module 4",
    matches=is_board(Model.FOUR_B, Model.FOUR_HUNDRED, Model.CM4, Model.CM4S),
    firmware=(Firmware.RASPBERRY_PI,),
    tested="",
)
