# SPDX-License-Identifier: Apache-2.0
"""Block devices, from lsblk and their partition tables, and mounts, from /proc/self/mountinfo (proc(5))."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from balena_migrate.core.blockdev import find_kernel_name, read_number, read_serial
from balena_migrate.core.errors import FileError
from balena_migrate.core.mountinfo import MountInfo, read_mountinfo
from balena_migrate.core.system import System
from balena_migrate.core.units import SECTOR_BYTES
from balena_migrate.core.values import parse_json
from balena_migrate.facts import BlockDevice, DiskFacts, Mount
from balena_migrate.facts.luks import read_luks_tokens
from balena_migrate.images.partitions.device import read_table_id

PSEUDO_FILE_SYSTEMS = frozenset(
    {
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "proc",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "sysfs",
        "tracefs",
    }
)
"""They show something of the kernel's; nobody keeps files there."""

LUKS = "crypto_LUKS"

COLUMNS = "NAME,PATH,TYPE,SIZE,FSTYPE,LABEL,UUID,PARTUUID,PTUUID,PTTYPE,PARTTYPE,SERIAL,MODEL,TRAN,RO,LOG-SEC,START"


def parse_lsblk(text: str) -> tuple[BlockDevice, ...]:
    """The devices in the output of `lsblk --json --bytes`; one with several parents appears once.

    Raises ValueError for what is not such output.
    """
    try:
        return _parse_devices(parse_json(text))
    except (AttributeError, TypeError):
        raise ValueError("not the output of lsblk") from None


def _parse_devices(output: Any) -> tuple[BlockDevice, ...]:
    devices: dict[str, BlockDevice] = {}
    parents: dict[str, list[str]] = {}
    todo = [(item, "") for item in output.get("blockdevices", [])]
    while todo:
        item, parent = todo.pop(0)
        device = _parse_device(item)
        devices.setdefault(device.name, device)
        if parent and parent not in parents.setdefault(device.name, []):
            parents[device.name].append(parent)
        todo += [(child, device.name) for child in item.get("children", [])]
    return tuple(_with_parents(device, parents.get(device.name, [])) for device in devices.values())


def _with_parents(device: BlockDevice, parents: list[str]) -> BlockDevice:
    return replace(device, parents=tuple(parents))


def _parse_device(item: dict[str, Any]) -> BlockDevice:
    def text(key: str) -> str:
        return str(item.get(key) or "").strip()

    return BlockDevice(
        name=text("name"),
        path=text("path") or f"/dev/{text('name')}",
        kind=text("type"),
        size_bytes=int(item.get("size") or 0),
        start_bytes=int(item.get("start") or 0) * SECTOR_BYTES,
        sector_bytes=int(item.get("log-sec") or SECTOR_BYTES),
        fstype=text("fstype"),
        label=text("label"),
        uuid=text("uuid"),
        partuuid=text("partuuid"),
        table_id=text("ptuuid"),
        table_type=text("pttype"),
        part_type=text("parttype").lower(),
        serial=text("serial"),
        model=text("model"),
        transport=text("tran"),
        read_only=item.get("ro") in (True, "1", 1),
    )


def _mount(info: MountInfo) -> Mount:
    """The mount, of a size that is not known yet."""
    return Mount(
        source=info.source, mount_point=info.mount_point, root=info.root, fstype=info.fstype, options=info.options
    )


def read_disks(system: System) -> DiskFacts:
    """The device's block devices and mounts. Raises FileError if the output of the kernel or lsblk is malformed."""
    try:
        devices = parse_lsblk(system.run(["lsblk", "--json", "--bytes", "--output", COLUMNS]).text)
    except ValueError as error:
        raise FileError("lsblk", str(error)) from None
    facts = DiskFacts(
        devices=tuple(_with_start(system, device) for device in devices),
        mounts=tuple(
            _with_space(system, _with_device(system, _mount(info), devices))
            for info in read_mountinfo(system)
            if info.fstype not in PSEUDO_FILE_SYSTEMS
        ),
    )
    # Not of others: a drive without a medium, or the eMMC's part for secrets, takes its time to refuse.
    sizes = {disk.size_bytes for disk in facts.disks_below("/")}
    alike = {device.name for device in facts.devices if device.kind == "disk" and device.size_bytes in sizes}
    devices = tuple(_identified(system, d) if d.name in alike else d for d in facts.devices)
    return replace(facts, devices=tuple(_with_tokens(system, d, facts) for d in devices))


def _with_start(system: System, device: BlockDevice) -> BlockDevice:
    """lsblk has the column START only since util-linux 2.38; the kernel has always provided it."""
    start = read_number(system, f"/sys/class/block/{device.name}/start")
    return replace(device, start_bytes=start * SECTOR_BYTES) if start else device


def _identified(system: System, device: BlockDevice) -> BlockDevice:
    """With what stage 2 will read as well, to find the disk by it; what lsblk knows where we may not read the disk."""
    try:
        table_id = read_table_id(system, device.path)
    except FileError:
        return device
    return replace(device, table_id=table_id, serial=read_serial(system, device.name))


def _with_tokens(system: System, device: BlockDevice, facts: DiskFacts) -> BlockDevice:
    root = facts.find_mount("/")
    top = facts.find_device(root.source) if root else None
    if device.fstype != LUKS or top is None or device.name not in {below.name for below in facts.chain(top)}:
        return device
    return replace(device, luks_tokens=read_luks_tokens(system, device.path))


def _with_device(system: System, mount: Mount, devices: tuple[BlockDevice, ...]) -> Mount:
    """/dev/root and links such as /dev/mapper/x become the device's own path."""
    if any(device.path == mount.source for device in devices) or not mount.source.startswith("/dev/"):
        return mount
    try:
        number = system.stat(mount.mount_point).st_dev
    except FileError:
        return mount
    name = find_kernel_name(system, f"{os.major(number)}:{os.minor(number)}")
    found = next((device.path for device in devices if device.name == name), mount.source)
    return replace(mount, source=found)


def _with_space(system: System, mount: Mount) -> Mount:
    try:
        space = system.statvfs(mount.mount_point)
    except FileError:
        return mount
    size, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    return replace(mount, size_bytes=size, free_bytes=free, block_bytes=space.f_frsize)
