"""Raspberry Pi 400."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware
from balena_migrate.pi_board import Model

DEVICE_TYPE = DeviceType(
    slug="raspberrypi400-64",
    name="Raspberry Pi 400",
    matches=is_board(Model.FOUR_HUNDRED),
    firmware=(Firmware.RASPBERRY_PI,),
    tested="",
)
