# SPDX-License-Identifier: Apache-2.0
"""The disk and the room on it: refused with the arithmetic, or with the name of what is not supported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from balena_migrate.checks import storage
from balena_migrate.core.units import GIB, MIB
from balena_migrate.facts import DiskFacts, Facts, Mount
from balena_migrate.findings import Severity
from balena_migrate.images.partitions import TableKind
from balena_migrate.settings import Config
from tests.support.facts import pc_facts, pi_facts, with_disks
from tests.support.findings import PI_IMAGE, blockers, findings
from tests.support.surveys import some_image, some_survey
from tests.support.tables import DATA_FILE_SYSTEM


def with_root(facts: Facts, *, kind: str = "part", fstype: str = "ext4") -> Facts:
    devices = tuple(replace(d, kind=kind) if d.name == "sda1" else d for d in facts.disks.devices)
    mounts = tuple(replace(m, fstype=fstype) for m in facts.disks.mounts)
    return replace(facts, disks=DiskFacts(devices=devices, mounts=mounts))


@pytest.mark.parametrize(
    ("kind", "fstype", "code", "word"),
    [
        ("lvm", "ext4", "root-on-lvm", "LVM"),
        ("crypt", "ext4", "root-on-crypt", "LUKS"),
        ("raid1", "ext4", "root-on-raid1", "RAID"),
        ("part", "btrfs", "root-file-system", "btrfs"),
        ("part", "overlay", "root-file-system", "overlay"),
    ],
)
def test_what_lies_below_root_and_is_not_supported_is_refused_with_its_name(
    kind: str, fstype: str, code: str, word: str
) -> None:
    found = [f for f in findings(some_survey(with_root(pc_facts(), kind=kind, fstype=fstype))) if f.code == code]
    assert [finding.severity for finding in found] == [Severity.BLOCKER]
    assert word in found[0].cause


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        ({"transport": "iscsi"}, "iscsi"),
        ({"name": "nbd0", "path": "/dev/nbd0"}, "nbd"),
        ({"name": "bcache12", "path": "/dev/bcache12"}, "bcache"),
        ({"name": "zram0", "path": "/dev/zram0"}, "zram"),
    ],
)
def test_a_root_on_what_lsblk_calls_a_disk_and_no_kernel_finds_by_itself_is_refused(
    change: dict[str, str], layer: str
) -> None:
    facts = pc_facts()
    disk = replace(facts.disks.devices[0], **change)  # type: ignore[arg-type]
    parts = tuple(replace(part, parents=(disk.name,)) for part in facts.disks.devices[1:])
    found = findings(some_survey(replace(facts, disks=replace(facts.disks, devices=(disk, *parts)))))
    (finding,) = [finding for finding in found if finding.code == f"root-on-{layer}"]
    assert finding.severity is Severity.BLOCKER and disk.path in finding.cause


@pytest.mark.parametrize("transport", ["sata", "usb", "nvme", "fc", "spi", ""])
def test_a_root_on_a_disk_of_the_device_is_not_refused(transport: str) -> None:
    facts = pc_facts()
    devices = (replace(facts.disks.devices[0], transport=transport), *facts.disks.devices[1:])
    assert blockers(some_survey(replace(facts, disks=replace(facts.disks, devices=devices)))) == []


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ((), "(/dev/mapper/root)"),
        (("clevis",), "(/dev/mapper/root, tokens: clevis)"),
        (("systemd-recovery", "systemd-tpm2"), "the TPM holds a key of it, tokens: systemd-recovery, systemd-tpm2)"),
        (("ubuntu-fde",), "the TPM holds a key of it, tokens: ubuntu-fde)"),
    ],
)
def test_a_root_that_the_tpm_unlocks_is_named_as_such(tokens: tuple[str, ...], said: str) -> None:
    facts = pc_facts()
    disk, part = facts.disks.devices
    locked = replace(part, fstype="crypto_LUKS", uuid="luks", luks_tokens=tokens)
    root = replace(part, name="dm-0", path="/dev/mapper/root", kind="crypt", parents=("sda1",))
    (mount,) = facts.disks.mounts
    disks = DiskFacts(devices=(disk, locked, root), mounts=(replace(mount, source=root.path),))
    (found,) = (f for f in findings(some_survey(replace(facts, disks=disks))) if f.code == "root-on-crypt")
    assert found.severity is Severity.BLOCKER and said in found.cause


def test_a_boot_folder_on_another_disk_is_refused() -> None:
    facts = pc_facts(separate_boot=True)
    other = replace(facts.disks.devices[0], name="sdb", path="/dev/sdb")
    devices = tuple(replace(d, parents=("sdb",)) if d.name == "sda2" else d for d in facts.disks.devices)
    facts = replace(facts, disks=replace(facts.disks, devices=(*devices, other)))
    assert "boot-on-other-disk" in blockers(some_survey(facts))


def test_a_disk_that_is_smaller_than_the_image_is_refused() -> None:
    large = replace(some_image(), size_bytes=9000 * MIB)
    assert blockers(some_survey(image=large)) == ["disk-too-small"]


def with_disk_bytes(size_bytes: int) -> Facts:
    facts = pc_facts()
    devices = tuple(replace(d, size_bytes=size_bytes) if d.kind == "disk" else d for d in facts.disks.devices)
    return replace(facts, disks=replace(facts.disks, devices=devices))


@pytest.mark.parametrize(
    ("kind", "block_bytes", "disk_bytes", "said"),
    [
        (TableKind.DOS, 4096, 2 << 40, ""),
        (TableKind.DOS, 4096, (2 << 40) + 4096, "an MBR"),
        (TableKind.GPT, 4096, 4 << 40, ""),
        (TableKind.GPT, 1024, 1023 * GIB, ""),
        (TableKind.GPT, 1024, 1025 * GIB, "blocks of 1 KiB"),
    ],
)
def test_a_disk_that_the_new_system_cannot_use_is_refused(
    kind: TableKind, block_bytes: int, disk_bytes: int, said: str
) -> None:
    image = some_image()
    table = replace(image.table, kind=kind)
    image = replace(image, table=table, data_file_system=replace(DATA_FILE_SYSTEM, block_bytes=block_bytes))
    found = [f for f in findings(some_survey(with_disk_bytes(disk_bytes), image=image)) if f.code == "disk-too-large"]
    assert [finding.severity for finding in found] == ([Severity.BLOCKER] if said else [])
    assert all(said in finding.cause for finding in found)


def test_a_full_boot_folder_is_refused_with_the_arithmetic() -> None:
    facts = pc_facts()
    mounts = tuple(replace(m, free_bytes=20 * MIB) for m in facts.disks.mounts)
    survey = some_survey(replace(facts, disks=replace(facts.disks, mounts=mounts)))
    found = next(f for f in findings(survey) if f.code == "boot-full")
    assert "30 (as the running kernel's) + 12 (kit) = 42 MiB and" in found.cause
    assert found.cause.endswith("/boot has 20 MiB free")


def test_an_initramfs_for_a_fat_partition_is_counted_with_this_machines_modules_only() -> None:
    """As on a Raspberry Pi, whatever the running kernel's own initramfs holds."""
    facts = pc_facts(separate_boot=True)
    mounts = tuple(replace(m, fstype="vfat") if m.mount_point == "/boot" else m for m in facts.disks.mounts)
    survey = some_survey(replace(facts, disks=replace(facts.disks, mounts=mounts)))
    found = next(f for f in findings(survey) if f.code == "boot-room")
    assert "16 (with this machine's modules only) + 12 (kit) = 28 MiB" in found.cause


CLUSTER = 32 << 10


@pytest.mark.parametrize(("missing_bytes", "code"), [(0, "boot-room"), (CLUSTER, "boot-full")])
@pytest.mark.parametrize("kit_bytes", [20 * MIB, 20 * MIB - 2])
def test_room_on_fat_is_counted_in_clusters_to_the_last_one(missing_bytes: int, code: str, kit_bytes: int) -> None:
    """The initramfs in whole clusters; config.txt and cmdline.txt beside the old; two files of our own; the folder."""
    facts = pi_facts(files={"config.txt": "x" * (CLUSTER - 4096), "cmdline.txt": "x" * (CLUSTER - 4095)})
    initramfs = -(-(16 * MIB + 20 * MIB * storage.KIT_PACKED_PERCENT // 100) // CLUSTER)
    free = (initramfs + 1 + 2 + 2 + 1) * CLUSTER - missing_bytes
    facts = with_boot_mount(facts, block_bytes=CLUSTER, free_bytes=free)
    found = [f.code for f in storage.check(some_survey(facts, kit_base_bytes=kit_bytes)) if f.code.startswith("boot-")]
    assert found == [code]


def with_boot_mount(facts: Facts, **changes: Any) -> Facts:
    mounts = tuple(replace(mount, **changes) if mount.fstype == "vfat" else mount for mount in facts.disks.mounts)
    return replace(facts, disks=replace(facts.disks, mounts=mounts))


def test_a_root_file_system_that_is_read_only_is_refused() -> None:
    facts = pc_facts()
    (root,) = facts.disks.mounts
    disks = replace(facts.disks, mounts=(replace(root, options=("ro", "relatime")),))
    assert blockers(some_survey(replace(facts, disks=disks))) == ["root-read-only"]


def test_a_boot_partition_on_another_disk_than_the_root_is_refused() -> None:
    """As with the firmware's files on a card and the system on a USB disk: only one of the two gets written."""
    card, usb = pi_facts(), pi_facts(disk="sda")
    mounts = (usb.disks.mounts[0], card.disks.mounts[1])
    others = tuple(replace(device, uuid=f"usb-{device.uuid}") for device in usb.disks.devices)
    cards = tuple(replace(device, table_id="87654321") for device in card.disks.devices)
    facts = replace(card, disks=DiskFacts(devices=cards + others, mounts=mounts))
    survey = some_survey(facts, image=some_image(**PI_IMAGE))
    assert blockers(survey) == ["boot-on-other-disk"]
    cause = next(f.cause for f in findings(survey) if f.code == "boot-on-other-disk")
    assert cause == "/boot/firmware is on /dev/mmcblk0, but the root file system is on /dev/sda"


def test_a_copy_of_a_file_system_that_stage_2_looks_for_is_refused_with_both_names() -> None:
    """As with a card's copy on a USB stick that stays plugged in."""
    facts = pi_facts()
    copies = tuple(
        replace(
            device,
            name=device.name.replace("mmcblk0p", "sda"),
            path=device.path.replace("mmcblk0p", "sda"),
            parents=("sda",),
        )
        for device in facts.disks.devices
        if device.kind == "part"
    )
    facts = with_disks(facts, *copies)
    found = [finding for finding in storage.check(some_survey(facts)) if finding.code == "uuid-twice"]
    assert [finding.cause.split(" have ")[0] for finding in found] == [
        "/dev/mmcblk0p1 and /dev/sda1",
        "/dev/mmcblk0p2 and /dev/sda2",
    ]
    assert [finding.remedy for finding in found] == [
        "unplug the copy, or give it another UUID (mlabel -n -i /dev/sda1 ::)",
        "unplug the copy, or give it another UUID (tune2fs -U random /dev/sda2)",
    ]


def test_a_copy_on_the_same_disk_cannot_be_unplugged() -> None:
    """As the systems A and B of an image of rpi-image-gen, whose file systems have the same UUIDs."""
    facts = pi_facts()
    other = replace(facts.disks.devices[2], name="mmcblk0p3", path="/dev/mmcblk0p3", start_bytes=GIB)
    survey = some_survey(with_disks(facts, other))
    (found,) = (finding for finding in storage.check(survey) if finding.code == "uuid-twice")
    assert found.remedy == "give it another UUID (tune2fs -U random /dev/mmcblk0p3)"


def test_a_copy_of_the_disk_in_a_file_that_is_attached_is_gone_at_the_next_start() -> None:
    """As while somebody looks into the backup that he has just made."""
    facts = pc_facts()
    loop = replace(facts.disks.devices[0], name="loop0", path="/dev/loop0", kind="loop")
    copy = replace(facts.disks.devices[1], name="loop0p1", path="/dev/loop0p1", parents=("loop0",))
    assert blockers(some_survey(with_disks(facts, loop, copy))) == []


def alike(facts: Facts, **other: Any) -> Facts:
    """With a second disk as its copy has it, once the UUIDs of the file systems there are others."""
    disk, *_ = facts.disks.devices
    return with_disks(facts, replace(disk, **{"name": "sdb", "path": "/dev/sdb", **other}))


@pytest.mark.parametrize("serials", [("", ""), ("S1", "S1")])
@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("dos", "sfdisk --disk-id /dev/sdb 0x$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')"),
        ("gpt", "sfdisk --disk-id /dev/sdb $(cat /proc/sys/kernel/random/uuid)"),
    ],
)
def test_a_copy_whose_file_systems_have_got_new_uuids(serials: tuple[str, str], kind: str, command: str) -> None:
    facts = pc_facts()
    disk, *rest = facts.disks.devices
    devices = (replace(disk, serial=serials[0], table_type=kind), *rest)
    facts = replace(facts, disks=replace(facts.disks, devices=devices))
    (found,) = (f for f in findings(some_survey(alike(facts, serial=serials[1]))) if f.code == "disk-twice")
    assert found.severity is Severity.BLOCKER
    assert found.cause.startswith("/dev/sdb has the size of /dev/sda, the same id of its partition table (12345678)")
    assert found.remedy == f"unplug /dev/sdb, or give it another id ({command})"


@pytest.mark.parametrize("other", [{"serial": "S2"}, {"serial": ""}, {"table_id": "87654321"}, {"size_bytes": 5}])
def test_a_copy_that_stage_2_can_tell_from_the_disk(other: dict[str, Any]) -> None:
    assert blockers(some_survey(alike(pc_facts(), **other))) == []


def started_with(root: str, *, table_id: str = "12345678", table_type: str = "dos", **both: Any) -> Facts:
    """A Raspberry Pi that was started with this root=, and a larger disk with a copy whose UUIDs are others already.

    `both` are fields of the root's partition and of its copy.
    """
    facts = pi_facts()
    disk, boot, own = facts.disks.devices
    disk, own = replace(disk, table_id=table_id, table_type=table_type), replace(own, **both)
    other = replace(disk, name="sda", path="/dev/sda", size_bytes=2 * disk.size_bytes)
    copy = replace(own, name="sda2", path="/dev/sda2", parents=("sda",), uuid="2222-root")
    facts = replace(facts, disks=replace(facts.disks, devices=(disk, boot, own, other, copy)))
    return replace(facts, boot=replace(facts.boot, kernel_command_line=f"quiet root={root} rootwait"))


NEW_DISK_ID = "give it another id (sfdisk --disk-id /dev/sda 0x$(od -An -N4 -tx4 /dev/urandom | tr -d ' '))"


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        (started_with("PARTUUID=12345678-02"), NEW_DISK_ID),
        (started_with("PARTUUID=1234ABCD-02", partuuid="1234abcd-02"), NEW_DISK_ID),
        (started_with("PARTUUID=00000000-02", table_id="00000000"), NEW_DISK_ID),
        (
            started_with("PARTUUID=6a0c6a5e-41", partuuid="6a0c6a5e-41", table_type="gpt"),
            "give it another id (sfdisk --part-uuid /dev/sda 2 $(cat /proc/sys/kernel/random/uuid))",
        ),
        (started_with("/dev/disk/by-partuuid/6a0c-02", partuuid="6a0c-02"), NEW_DISK_ID),
        (started_with("LABEL=writable", label="writable"), "give it another label (e2label /dev/sda2 copy)"),
    ],
)
def test_the_old_systems_root_argument_names_the_copy_too(facts: Facts, remedy: str) -> None:
    (found,) = (finding for finding in storage.check(some_survey(facts)) if finding.code == "root-twice")
    assert found.severity is Severity.BLOCKER
    assert "names /dev/mmcblk0p2 and /dev/sda2" in found.cause
    assert found.remedy == f"unplug /dev/sda2, or {remedy}"


def test_the_other_disk_has_no_id_that_blkid_would_name_either() -> None:
    """Both have an MBR with the id 0, of which Linux makes the same PARTUUID."""
    facts = started_with("PARTUUID=00000000-02", table_id="00000000")
    devices = tuple(replace(d, table_id="") if d.name == "sda" else d for d in facts.disks.devices)
    facts = replace(facts, disks=replace(facts.disks, devices=devices))
    assert "root-twice" in {finding.code for finding in storage.check(some_survey(facts))}


@pytest.mark.parametrize(
    "facts",
    [
        started_with("UUID=1111-root"),
        started_with("/dev/mmcblk0p2"),
        started_with("LABEL=", label=""),
        started_with("PARTUUID=12345678-01"),
        pi_facts(),
    ],
)
def test_a_root_argument_that_names_no_copy(facts: Facts) -> None:
    assert "root-twice" not in {finding.code for finding in storage.check(some_survey(facts))}


@pytest.mark.parametrize(("fstype", "mounted"), [("ext4", True), ("f2fs", False)])
def test_no_command_is_named_where_the_copy_is_not_certain(fstype: str, mounted: bool) -> None:
    facts = pc_facts()
    copy = replace(facts.disks.devices[1], name="sdb1", path="/dev/sdb1", fstype=fstype, parents=("sdb",))
    mount = Mount(source="/dev/sdb1", mount_point="/mnt", fstype=fstype)
    facts = with_disks(facts, copy, mounts=[mount] if mounted else ())
    (found,) = (finding for finding in storage.check(some_survey(facts)) if finding.code == "uuid-twice")
    assert found.remedy == "unplug the copy"


def test_a_log_drive_has_to_be_there_and_on_another_disk() -> None:
    assert blockers(some_survey(config=Config(log_drive="/dev/sda1"))) == ["log-drive-on-target"]
    assert blockers(some_survey(config=Config(log_drive="/dev/sdz1"))) == ["log-drive-missing"]
    facts = pc_facts()
    stick = replace(facts.disks.devices[1], name="sdb1", path="/dev/sdb1", parents=(), uuid="s", fstype="vfat")
    facts = with_disks(facts, stick)
    assert blockers(some_survey(facts, Config(log_drive="/dev/sdb1"))) == ["log-drive-file-system"]
    assert blockers(some_survey(facts, Config(log_drive="/dev/sdb1", log_fs_type="vfat"))) == []


@pytest.mark.parametrize(
    ("table_type", "table_id", "refused"),
    [("gpt", "", True), ("gpt", "0f0f0f0f-1", False), ("dos", "", False), ("", "", False)],
)
def test_a_gpt_that_only_its_copy_keeps_is_refused_with_its_repair(
    table_type: str, table_id: str, refused: bool
) -> None:
    """The device runs, and would not start again: lsblk knows the table, and the disk's start does not."""
    facts = pc_facts()
    disk = replace(facts.disks.devices[0], table_type=table_type, table_id=table_id)
    disks = replace(facts.disks, devices=(disk, *facts.disks.devices[1:]))
    found = [f for f in findings(some_survey(replace(facts, disks=disks))) if f.code == "disk-table-damaged"]
    assert bool(found) == refused
    assert not found or "sfdisk --dump /dev/sda > /root/table" in found[0].remedy
