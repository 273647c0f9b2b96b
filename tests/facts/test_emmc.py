# SPDX-License-Identifier: Apache-2.0
"""An eMMC has areas of its own besides the one for data: lsblk shows them as disks, and none is ever the target."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from balena_migrate.checks import storage
from balena_migrate.core.units import MIB
from balena_migrate.facts import DiskFacts, Mount
from balena_migrate.facts.disks import parse_lsblk
from balena_migrate.facts.twins import find_alike
from balena_migrate.findings import Severity
from tests.support.facts import pc_facts
from tests.support.surveys import some_image, some_survey

ROOT = {
    "name": "mmcblk0p2",
    "path": "/dev/mmcblk0p2",
    "type": "part",
    "size": 7000 * MIB,
    "fstype": "ext4",
    "uuid": "1111-root",
    "start": 1_050_624,
}
DATA = {
    "name": "mmcblk0",
    "path": "/dev/mmcblk0",
    "type": "disk",
    "size": 7456 * MIB,
    "ptuuid": "5a3c91e7",
    "pttype": "dos",
    "serial": "0x1a2b3c4d",
    "tran": "mmc",
    "ro": False,
    "children": [ROOT],
}
AREAS = [
    {**DATA, "name": f"mmcblk0{name}", "path": f"/dev/mmcblk0{name}", "size": 4 * MIB, "ro": True, "children": []}
    for name in ("boot0", "boot1", "rpmb")
]


@pytest.fixture
def disks() -> DiskFacts:
    """A PC whose root file system is on an eMMC; lsblk names its areas first."""
    devices = parse_lsblk(json.dumps({"blockdevices": [*AREAS, DATA]}))
    root = Mount(source="/dev/mmcblk0p2", mount_point="/", fstype="ext4", size_bytes=7000 * MIB, free_bytes=6000 * MIB)
    return DiskFacts(devices=devices, mounts=(root,))


def test_the_target_is_the_area_for_data(disks: DiskFacts) -> None:
    assert [disk.path for disk in disks.disks_below("/")] == ["/dev/mmcblk0"]


def test_the_other_areas_are_not_taken_for_copies_of_it(disks: DiskFacts) -> None:
    """They have its serial number."""
    (disk,) = disks.disks_below("/")
    assert [found.path for found in find_alike(disks, disk)] == ["/dev/mmcblk0"]


def test_that_they_are_read_only_blocks_nothing(disks: DiskFacts) -> None:
    survey = some_survey(replace(pc_facts(), disks=disks), image=some_image())
    assert [found.code for found in storage.check(survey) if found.severity is Severity.BLOCKER] == []
