# SPDX-License-Identifier: Apache-2.0
"""Device types: one file each, with a `DEVICE_TYPE`. The folder is the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from balena_migrate.core.plugins import load_all
from balena_migrate.facts import Facts, Firmware


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What was really run: one row of the README's table."""

    image: str = ""
    """What distinguishes the image from others of the type; empty if nothing does."""
    machine: str
    firmware: str
    system: str
    """The old system."""
    what: str


@dataclass(frozen=True, kw_only=True)
class DeviceType:
    """A balena device type and the hardware that it runs on.

    `slug` is the name in config.json and device-type.json, `aliases` are its other names. `image_tags` are the names
    that an image's file name may carry for it. `matches(facts)` says whether an image of this type boots here.
    """

    slug: str
    name: str
    matches: Callable[[Facts], bool]
    firmware: tuple[Firmware, ...]
    """What can start an image of this type."""
    aliases: tuple[str, ...] = ()
    image_tags: tuple[str, ...] = ()
    boot_entry: str = "balenaOS"
    """The label of its boot entry in UEFI firmware (meta-balena, resin-init-flasher: BOOT_ENTRY_LABEL)."""
    tested: tuple[Tested, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.slug, *self.aliases)


@cache
def device_types() -> tuple[DeviceType, ...]:
    """All device types, by file name."""
    return load_all(__name__, __path__, "DEVICE_TYPE")


def find_device_type(name: str) -> DeviceType | None:
    """The device type with this slug or alias."""
    return next((device for device in device_types() if name in device.names), None)


def slug_of(name: str) -> str:
    """The slug for a slug or an alias; a name that is neither stays as it is."""
    found = find_device_type(name)
    return found.slug if found else name


def device_types_for(facts: Facts) -> tuple[DeviceType, ...]:
    """The device types whose images boot on this device, by hardware and firmware."""
    return tuple(d for d in device_types() if d.matches(facts) and facts.boot.firmware in d.firmware)
