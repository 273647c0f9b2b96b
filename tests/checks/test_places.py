# SPDX-License-Identifier: Apache-2.0
"""Is what stage 1 leaves for stage 2 where that can reach it?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.checks.places import check
from balena_migrate.core.paths import STATE_DIR
from balena_migrate.facts import BlockDevice, Facts, Mount
from balena_migrate.settings import Config
from tests.support.facts import pc_facts, pi_facts, with_disks
from tests.support.surveys import some_survey

USB = BlockDevice(name="sdb1", path="/dev/sdb1", kind="part", size_bytes=1 << 30, fstype="ext4", uuid="3333-usb")
ZRAM = replace(USB, name="zram1", path="/dev/zram1", kind="disk", uuid="5555-zram")
NBD = replace(USB, name="nbd3", path="/dev/nbd3", kind="disk", uuid="6666-nbd")
SAN = replace(USB, name="sdd", path="/dev/sdd", kind="disk", transport="iscsi", fstype="", uuid="")
SAN_PART = replace(USB, name="sdd1", path="/dev/sdd1", parents=("sdd",), uuid="7777-san")
CRYPT = replace(USB, name="dm-0", path="/dev/mapper/home", kind="crypt", parents=("sdb1",), uuid="4444-home")


def said(facts: Facts, home: str = "/srv/migrate", image: str = "balena.img.gz") -> list[str]:
    return [finding.cause for finding in check(some_survey(facts, Config(home_dir=home, image_name=image)))]


def test_all_on_the_root_file_system_is_reached() -> None:
    assert said(pc_facts()) == said(pc_facts(separate_boot=True)) == said(pi_facts()) == []


@pytest.mark.parametrize(
    ("fstype", "source", "root", "why"),
    [
        ("tmpfs", "tmpfs", "/", "in memory"),
        ("nfs4", "server:/export", "/", "is nfs4"),
        ("overlay", "overlay", "/", "is overlay"),
        ("ecryptfs", "/home/.ecryptfs/x", "/", "is ecryptfs"),
        ("fuseblk", "/dev/sdb1", "/", "is fuseblk"),
        ("zfs", "rpool/srv", "/", "is zfs"),
        ("ext4", "/dev/mapper/home", "/", "(crypt)"),
        ("ext4", "/dev/zram1", "/", "in memory (zram)"),
        ("ext4", "/dev/nbd3", "/", "(nbd)"),
        ("xfs", "/dev/sdd1", "/", "(iscsi)"),
        ("ext4", "/dev/sdb1", "/folder", "/folder of /dev/sdb1 only"),
        ("ext4", "/dev/sda1", "/data", "/data of /dev/sda1 only"),
    ],
)
@pytest.mark.parametrize("point", ["/srv", "/srv/migrate"])
def test_a_home_that_stage_2_cannot_mount_is_refused_once(
    fstype: str, source: str, root: str, why: str, point: str
) -> None:
    mount = Mount(source=source, mount_point=point, fstype=fstype, root=root)
    (cause,) = said(with_disks(pc_facts(), USB, CRYPT, ZRAM, NBD, SAN, SAN_PART, mounts=[mount]))
    assert cause.startswith("HOME_DIR (/srv/migrate)") and why in cause


def test_a_partition_of_another_disk_is_reached_and_one_without_a_uuid_is_not() -> None:
    mount = Mount(source="/dev/sdb1", mount_point="/srv", fstype="ext4")
    assert said(with_disks(pc_facts(), USB, mounts=[mount])) == []
    (cause,) = said(with_disks(pc_facts(), replace(USB, uuid=""), mounts=[mount]))
    assert "no UUID" in cause


def test_an_image_elsewhere_and_the_tools_own_folder_are_judged_as_well() -> None:
    mounts = [Mount(source="tmpfs", mount_point=point, fstype="tmpfs") for point in ("/mnt/images", "/var")]
    image, own = said(with_disks(pc_facts(), mounts=mounts), image="/mnt/images/balena.img.gz")
    assert image.startswith("the image (/mnt/images/balena.img.gz)")
    assert own.startswith(f"the tool's own folder ({STATE_DIR})")


def test_a_boot_folder_that_is_bound_from_elsewhere_is_refused() -> None:
    mount = Mount(source="/dev/sda1", mount_point="/boot", fstype="ext4", root="/other/boot")
    (cause,) = said(with_disks(pc_facts(), mounts=[mount]))
    assert cause.startswith("the boot folder (/boot)")
