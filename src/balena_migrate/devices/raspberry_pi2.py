# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pi 2."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Model
from balena_migrate.devices import DeviceType
from balena_migrate.devices._raspberrypi import is_board
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="raspberry-pi2",
    name="Raspberry Pi 2",
    matches=is_board(Model.TWO_B),
    firmware=(Firmware.RASPBERRY_PI,),
    aliases=("raspberrypi2",),
    tested="QEMU raspi2b with a stand-in for the firmware, Debian 12",
)
