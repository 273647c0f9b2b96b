# SPDX-License-Identifier: Apache-2.0
"""The modules that the initramfs gets: what the device needs now, and a refusal where that cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from balena_migrate.core.system import System
from balena_migrate.initramfs import Needs
from balena_migrate.initramfs.composed.choice import Choice, choose
from balena_migrate.initramfs.composed.drivers import drivers_of
from tests.initramfs.device import LOADED, RELEASE, link, make_device, write

NEEDS = Needs(kernel_release=RELEASE, devices=("sda1",), file_systems=("ext4",))


def names(choice: Choice) -> set[str]:
    return {module.name for module in choice.modules}


def codes(choice: Choice) -> list[str]:
    return [finding.code for finding in choice.findings]


def test_the_way_to_the_disk_its_file_system_and_the_watchdog_are_taken_and_nothing_else(tmp_path: Path) -> None:
    choice = choose(make_device(tmp_path), NEEDS)
    crc = {"crc32c_generic", "crc32c_intel"}
    assert names(choice) == {*LOADED, *crc} - {"e1000"}
    assert choice.findings == ()


def test_a_file_system_that_is_not_in_use_now_is_taken_with_its_character_sets(tmp_path: Path) -> None:
    choice = choose(make_device(tmp_path), replace(NEEDS, file_systems=("ext4", "vfat")))
    assert {"vfat", "fat", "nls_ascii"} <= names(choice) and choice.findings == ()


def test_a_file_system_that_is_built_in_needs_no_module(tmp_path: Path) -> None:
    loaded = tuple(name for name in LOADED if name != "ext4")
    choice = choose(make_device(tmp_path, loaded=loaded), NEEDS)
    assert "ext4" not in names(choice) and choice.findings == ()


def test_a_kernel_with_everything_built_in_needs_no_modules(tmp_path: Path) -> None:
    system = make_device(tmp_path, loaded=())
    (tmp_path / f"lib/modules/{RELEASE}/modules.dep").unlink()
    assert choose(system, NEEDS) == Choice()


def test_modules_of_another_kernel_are_refused(tmp_path: Path) -> None:
    """As after an upgrade that removed the running kernel, before the reboot."""
    choice = choose(make_device(tmp_path), replace(NEEDS, kernel_release="6.0"))
    assert codes(choice) == ["kernel-modules-gone"]


def test_a_module_without_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    system = make_device(tmp_path)
    (tmp_path / f"lib/modules/{RELEASE}/kernel/drivers/ata/libata.ko").unlink()
    choice = choose(system, NEEDS)
    assert codes(choice) == ["kernel-module-missing"] and "libata" in choice.findings[0].cause


def test_a_driver_that_is_loaded_and_in_no_index_is_refused(tmp_path: Path) -> None:
    """As a module that was loaded by hand, or whose package is gone."""
    system = make_device(tmp_path, loaded=(*LOADED, "raidcard"))
    write(tmp_path, "sys/module/raidcard/x", "")
    (tmp_path / "sys/bus/drivers/ahci/module").unlink()
    link(tmp_path / "sys/bus/drivers/ahci/module", tmp_path / "sys/module/raidcard")
    choice = choose(system, NEEDS)
    assert codes(choice) == ["kernel-module-missing"]
    assert "raidcard" in choice.findings[0].cause and "drives sda1" in choice.findings[0].cause


def test_a_file_system_that_the_kernel_cannot_have_is_refused(tmp_path: Path) -> None:
    choice = choose(make_device(tmp_path), replace(NEEDS, file_systems=("ext4", "f2fs")))
    assert codes(choice) == ["kernel-module-missing"] and "f2fs" in choice.findings[0].cause


def test_a_device_that_sysfs_does_not_have_is_refused(tmp_path: Path) -> None:
    assert codes(choose(make_device(tmp_path), replace(NEEDS, devices=("sdz9",)))) == ["kernel-module-missing"]


def test_nvme_with_multipath_is_driven_by_its_controllers(tmp_path: Path) -> None:
    """sysfs shows such a disk below a subsystem, which links to the controllers."""
    subsystem = tmp_path / "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    (subsystem / "nvme0n1/nvme0n1p2").mkdir(parents=True)
    controller = tmp_path / "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0"
    controller.mkdir(parents=True)
    link(subsystem / "nvme0", controller)
    link(tmp_path / "sys/class/block/nvme0n1p2", subsystem / "nvme0n1/nvme0n1p2")
    (tmp_path / "sys/bus/pci/drivers/nvme").mkdir(parents=True)
    (tmp_path / "sys/module/nvme").mkdir(parents=True)
    link(tmp_path / "sys/bus/pci/drivers/nvme/module", tmp_path / "sys/module/nvme")
    link(controller.parent.parent / "driver", tmp_path / "sys/bus/pci/drivers/nvme")
    assert drivers_of(System(tmp_path), "nvme0n1p2") == ("nvme",)
