"""Raspberry Pi Zero 2 W."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware
from balena_migrate.pi_board import Model

DEVICE_TYPE = DeviceType(
    slug="raspberrypi0-2w-64",
    name="Raspberry Pi Zero 2 W",
    matches=is_board(Model.ZERO_2_W),
    firmware=(Firmware.RASPBERRY_PI,),
    tested="",
)
