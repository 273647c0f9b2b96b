# SPDX-License-Identifier: Apache-2.0
"""The contracts of the folders that are registries: a new file is found, and says all that is asked of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.bootloaders import boot_loaders
from balena_migrate.devices import DeviceType, device_types, device_types_for, find_device_type
from balena_migrate.facts import OsFacts
from balena_migrate.settings import StrategyName
from balena_migrate.stage2.strategies import strategies as stage2_strategies
from balena_migrate.strategies import strategies
from balena_migrate.systems import OperatingSystem, find_system, systems
from tests.support.facts import pc_facts


@pytest.mark.parametrize("device", device_types(), ids=lambda device: device.slug)
def test_a_device_type_is_complete(device: DeviceType) -> None:
    assert device.slug == device.slug.lower()
    assert device.name
    assert device.firmware
    assert isinstance(device.matches(pc_facts()), bool)
    assert find_device_type(device.slug) is device


def test_no_name_stands_for_two_device_types() -> None:
    names = [name for device in device_types() for name in device.names]
    assert len(names) == len(set(names))


def test_the_platforms_of_the_first_description_are_there() -> None:
    tags = {tag for device in device_types() for tag in (*device.names, *device.image_tags)}
    assert {"raspberry-pi1", "raspberry-pi2", "raspberrypi3", "genericx86-64", "intel-core2-32"} <= tags


def test_a_bios_pc_is_offered_no_image_that_needs_uefi() -> None:
    slugs = {device.slug for device in device_types_for(pc_facts())}
    assert {"intel-nuc", "genericx86-64-ext"} <= slugs
    assert "generic-amd64" not in slugs
    assert not any(slug.startswith("raspberry") for slug in slugs)


@pytest.mark.parametrize("system", systems(), ids=lambda system: system.name)
def test_an_operating_system_is_complete(system: OperatingSystem) -> None:
    assert system.ids
    assert system.releases
    assert len({release.version_id for release in system.releases}) == len(system.releases)


@pytest.mark.parametrize(
    ("facts", "release"),
    [
        (OsFacts(id="raspbian", version_id="9"), "9"),
        (OsFacts(id="debian", version_id="12"), "12"),
        (OsFacts(id="ubuntu", version_id="14.04"), "14.04"),
        (OsFacts(id="ubuntu", version_id="14.04.6"), "14.04"),
        (OsFacts(id="ubuntu", version_id="14.10"), None),
        (OsFacts(id="ubuntu", version_id="16.04", pretty_name="Ubuntu 16.04.7 LTS"), "16.04"),
        (OsFacts(id="ubuntu", version_id="25.10"), "25.10"),
        (OsFacts(id="ubuntu", version_id="26.04"), "26.04"),
        (OsFacts(id="debian", version_id="9"), "9"),
        (OsFacts(id="debian", version_id="10"), "10"),
        (OsFacts(id="debian", pretty_name="Debian GNU/Linux forky/sid"), "14"),
        (OsFacts(id="debian", pretty_name="Debian GNU/Linux duke/sid"), None),
        (OsFacts(id="debian"), None),
        (OsFacts(id="debian", version_id="1"), None),
    ],
)
def test_releases_are_recognised(facts: OsFacts, release: str | None) -> None:
    family = next(system for system in systems() if facts.id in system.ids)
    found = family.find_release(facts)
    assert (found.version_id if found else None) == release


def test_the_system_of_a_device_is_found_by_its_id() -> None:
    found = find_system(pc_facts())
    assert found is not None
    assert found.name == "Debian"


def test_a_64_bit_raspberry_pi_os_is_not_taken_for_debian() -> None:
    facts = pc_facts()
    found = find_system(replace(facts, os=replace(facts.os, rpi_issue="Raspberry Pi reference 2024-11-19")))
    assert found is not None
    assert found.name == "Raspberry Pi OS"


def test_every_boot_loader_has_a_name_of_its_own() -> None:
    names = [loader.name for loader in boot_loaders()]
    assert len(names) == len(set(names)) >= 2


def test_every_strategy_that_a_user_may_name_is_one_file_on_each_side() -> None:
    names = {strategy.name for strategy in strategies()}
    assert names == set(StrategyName) == {strategy.name for strategy in stage2_strategies()}
    assert len(strategies()) == len(stage2_strategies()) == len(names)
