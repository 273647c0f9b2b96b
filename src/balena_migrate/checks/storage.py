# SPDX-License-Identifier: Apache-2.0
"""Is the disk one that stage 2 can let go of and overwrite, and is there room for what stage 1 makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from balena_migrate.checks.subject import Subject
from balena_migrate.facts import BlockDevice
from balena_migrate.findings import Finding, Severity, blocker

MIB = 1 << 20

BELOW_ROOT = {
    "lvm": "LVM",
    "crypt": "LUKS or another encryption",
    "mpath": "multipath",
}
ROOT_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "f2fs")

INITRAMFS_GUESS_BYTES = 64 * MIB
"""Taken where the running kernel has no initramfs of its own to measure."""
SMALL_INITRAMFS_BYTES = 16 * MIB
"""One with the modules of this machine only, which is what a small boot partition gets (measured: less than 10 MiB)."""
CHANGE_BYTES = 4096
"""More than the boot change adds to any file, and more than a kernel's command line can have (COMMAND_LINE_SIZE)."""
SMALL_FILES = 2
"""tryboot.txt and the command line of stage 2, where the boot partition has neither."""
FOLDER_CLUSTERS = 1
"""The folder may have to grow for the new names."""
CLUSTER_BYTES = 64 << 10
"""The largest there is on FAT; taken where the file system does not say."""
KIT_PACKING = 2
"""The kit's base part is at least twice as large unpacked as in an initramfs (measured: 2.6 to 3.1)."""


def check(subject: Subject) -> Iterator[Finding]:
    yield from _check_root(subject)
    yield from _check_boot_disk(subject)
    yield from _check_size(subject)
    yield from _check_boot_room(subject)
    yield from _check_log_drive(subject)


def _check_root(subject: Subject) -> Iterator[Finding]:
    root, device = subject.root, subject.root_device
    if root is None or device is None:
        where = root.source if root else "nowhere"
        yield blocker("root-not-on-disk", f"the root file system is on {where}, which is not a block device")
        return
    if root.fstype not in ROOT_FILE_SYSTEMS:
        yield blocker("root-file-system", f"the root file system is {root.fstype}, which is not supported")
    for part in subject.facts.disks.chain(device):
        if part.kind not in ("part", "disk"):
            what = BELOW_ROOT.get(part.kind, f"{part.kind} (RAID)" if part.kind.startswith("raid") else part.kind)
            cause = f"the root file system is on {what} ({part.path}): it would hold the disk while it is overwritten"
            yield blocker("root-on-" + part.kind, cause)
    if subject.target is None:
        names = ", ".join(disk.path for disk in subject.facts.disks.disks_below("/"))
        yield blocker("several-disks", f"the root file system is on several disks: {names}")


def _check_boot_disk(subject: Subject) -> Iterator[Finding]:
    loader = subject.boot_loader
    folder = loader.boot_folder(subject.facts) if loader else "/boot"
    root, boot = (subject.facts.disks.disks_below(path) for path in ("/", folder))
    if root and boot != root:
        names = ", ".join(disk.path for disk in boot) or "no disk"
        yield blocker("boot-on-other-disk", f"{folder} is on {names}, and the root file system on {root[0].path}")


def _check_size(subject: Subject) -> Iterator[Finding]:
    if subject.image is None or subject.target is None:
        return
    disk, image = subject.target.size_bytes, subject.image.size_bytes
    text = f"the image needs {image // MIB} MiB, {subject.target.path} has {disk // MIB} MiB"
    if disk < image:
        yield blocker("disk-too-small", text)
    else:
        yield Finding(code="disk-size", severity=Severity.OK, cause=text)
    if subject.target.sector_bytes != 512:
        yield blocker(
            "disk-sectors", f"{subject.target.path} has sectors of {subject.target.sector_bytes} bytes, not 512"
        )
    if subject.target.read_only:
        yield blocker("disk-read-only", f"{subject.target.path} is read-only")


def has_small_boot_partition(subject: Subject) -> bool:
    """Whether the initramfs goes to a FAT partition, as a Raspberry Pi's firmware wants it; some have 43 MiB."""
    loader = subject.boot_loader
    mount = subject.facts.disks.find_mount(loader.boot_folder(subject.facts)) if loader else None
    return mount is not None and mount.fstype in ("vfat", "msdos")


def own_initramfs_bytes(subject: Subject) -> int:
    """How large the migration initramfs gets without the kit: as the running kernel's own, or a careful guess."""
    if has_small_boot_partition(subject):
        return SMALL_INITRAMFS_BYTES
    return subject.facts.boot.initramfs_bytes or INITRAMFS_GUESS_BYTES


def initramfs_estimate_bytes(subject: Subject) -> int:
    """How large the migration initramfs gets: kernel modules and programs, and the kit's base part."""
    return own_initramfs_bytes(subject) + subject.kit_base_bytes // KIT_PACKING


def _check_boot_room(subject: Subject) -> Iterator[Finding]:
    loader = subject.boot_loader
    if loader is None:
        return
    folder = loader.boot_folder(subject.facts)
    mount = subject.facts.disks.find_mount(folder)
    if mount is None:
        return
    own = own_initramfs_bytes(subject)
    what = "with this machine's modules only" if has_small_boot_partition(subject) else "as the running kernel's"
    kit, free = subject.kit_base_bytes // KIT_PACKING, mount.free_bytes
    block = mount.block_bytes or CLUSTER_BYTES
    others = configuration_bytes(subject.facts.boot.files, folder, block)
    text = (
        f"the initramfs takes about {own // MIB} ({what}) + {kit // MIB} (kit) ="
        f" {(own + kit) // MIB} MiB and the boot configuration at most {others >> 10} KiB more,"
        f" {folder} has {free // MIB} MiB free"
    )
    if own + kit + others > free:  # the rest is whole blocks, so the first two round up by themselves
        yield blocker("boot-full", text, "remove old kernels from it (apt-get autoremove --purge)")
    else:
        yield Finding(code="boot-room", severity=Severity.OK, cause=text)


def configuration_bytes(files: Mapping[str, str], folder: str, block_bytes: int) -> int:
    """What the boot loader's changed files take at most, beside the old ones, which stay until the new ones are whole.

    Each takes whole blocks, however short it is.
    """
    sizes = [len(text.encode("utf-8", "surrogateescape")) for path, text in files.items() if path.startswith(folder)]
    needed = [size + CHANGE_BYTES for size in (*sizes, *[0] * SMALL_FILES)]
    return sum(rounded_up(size, block_bytes) for size in needed) + FOLDER_CLUSTERS * block_bytes


def rounded_up(size_bytes: int, block_bytes: int) -> int:
    """The size in whole blocks."""
    return -(-size_bytes // block_bytes) * block_bytes


def _check_log_drive(subject: Subject) -> Iterator[Finding]:
    path, fstype, device = subject.config.log_drive, subject.config.log_fs_type, subject.log_device
    if not path:
        return
    if device is None:
        yield blocker("log-drive-missing", f"there is no {path} for LOG_DRIVE", "plug it in, or leave LOG_DRIVE out")
    elif subject.target in subject.facts.disks.chain(device):
        cause = f"LOG_DRIVE={path} is on {_path(subject.target)}, which gets overwritten"
        yield blocker("log-drive-on-target", cause, "name a partition of another disk")
    elif not device.uuid or device.fstype != fstype:
        cause = f"LOG_DRIVE={path} holds {device.fstype or 'no file system'}, and LOG_FS_TYPE says {fstype}"
        yield blocker("log-drive-file-system", cause, "set LOG_FS_TYPE to what is there")


def _path(device: BlockDevice | None) -> str:
    return device.path if device else "no disk"
