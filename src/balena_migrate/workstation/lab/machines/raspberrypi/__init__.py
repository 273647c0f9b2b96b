# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pis: at every start the firmware stand-in reads the card, and QEMU starts what it names."""

from balena_migrate.workstation.lab.machines.raspberrypi.machine import (
    RASPI0,
    RASPI2B,
    RASPI3B,
    PiMachine,
)

__all__ = ["RASPI0", "RASPI2B", "RASPI3B", "PiMachine"]
