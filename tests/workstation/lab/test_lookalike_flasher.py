# SPDX-License-Identifier: Apache-2.0
"""A look-alike of a flasher image has what its original has around the system image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images.flasher import NAME
from balena_migrate.workstation.lab.lookalike.flasher import files_inside, flash_boot_files, inner_path, plan_flasher
from balena_migrate.workstation.lab.lookalike.layout import table_sectors
from balena_migrate.workstation.lab.lookalike.specs import find_spec

NEW = find_spec("intel-nuc-flasher")
OLD = replace(NEW, os_version="2.71.1+rev1")
FILES = {
    "EFI/BOOT/bootx64.efi": b"MZ",
    "EFI/BOOT/grub.cfg": b"set timeout=0\n",
    "config.json": b'{"deviceType": "intel-nuc"}',
    "device-type.json": b"{}",
    "grub/grub.cfg": b"set timeout=0\n",
    "grub/grubenv": b"#",
    "splash/balena-logo.png": b"",
    "system-connections/README.ignore": b"",
}


def test_the_names_of_both_generations() -> None:
    """meta-balena 2.72.0 renamed them."""
    assert inner_path(OLD) == "opt/resin-image-genericx86-64.resinos-img"
    assert inner_path(NEW) == "opt/balena-image-genericx86-64.balenaos-img"
    assert all(NAME.fullmatch(inner_path(spec).removeprefix("opt/")) for spec in (OLD, NEW))
    assert "resin-image-flasher" in flash_boot_files(OLD, FILES)
    assert "balena-image-flasher" in flash_boot_files(NEW, FILES)


def test_the_boot_loaders_configuration_is_only_beside_the_image() -> None:
    assert set(FILES) - set(files_inside(FILES)) == {"EFI/BOOT/grub.cfg", "grub/grub.cfg"}
    beside = flash_boot_files(NEW, FILES)
    assert beside["grub.cfg_internal"] == FILES["grub/grub.cfg"]
    assert "grub/grubenv" not in beside


def test_its_config_json_also_says_what_the_flasher_has_to_do() -> None:
    assert set(json.loads(flash_boot_files(NEW, FILES)["config.json"])) == {"deviceType", "installer"}


@pytest.mark.processes
def test_sfdisk_reads_its_partitions(tmp_path: Path) -> None:
    layout, disk = plan_flasher(908 * MIB), tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(layout.size_bytes)
        for offset, sector in table_sectors(layout).items():
            file.seek(offset)
            file.write(sector)
    read = json.loads(System().run(["sfdisk", "--json", disk]).text)["partitiontable"]["partitions"]
    assert [(part["start"] // 2048, part["size"] // 2048, part["type"]) for part in read] == [
        (4, 40, "e"),
        (44, 972, "83"),
        (1016, 4, "83"),
        (1020, 16, "f"),
        (1024, 4, "83"),
        (1032, 4, "83"),
    ]
