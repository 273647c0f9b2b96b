# SPDX-License-Identifier: Apache-2.0
"""Can stage 2 unmount and overwrite the disk, and is there room for what stage 1 creates?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from balena_migrate.core.units import GIB, KIB, MIB, SECTOR_BYTES, in_mib
from balena_migrate.facts import FAT, BlockDevice, DiskFacts
from balena_migrate.facts.luks import TPM_TOKENS
from balena_migrate.facts.root_argument import find_named, find_root_argument
from balena_migrate.facts.twins import find_alike, find_twins, new_partuuid, new_table_id, twin_remedy
from balena_migrate.findings import BLOCKS, PASSES, Code, Finding, blocker, passed
from balena_migrate.images import Image
from balena_migrate.images.partitions import TableKind
from balena_migrate.initramfs import InitramfsSize
from balena_migrate.survey import Survey

BELOW_ROOT = {
    "lvm": "LVM",
    "crypt": "LUKS, another encryption, or dm-verity",
    "mpath": "multipath",
}
"""lsblk's TYPE -> what that is; a RAID's is raid0, raid1 and so on."""
ROOT_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "f2fs")

CHANGE_BYTES = 4096
"""More than the boot change adds to any file, and more than a kernel command line can hold (COMMAND_LINE_SIZE)."""
SMALL_FILES = 2
"""tryboot.txt and the command line of stage 2, where the boot partition has neither."""
FOLDER_CLUSTERS = 1
"""The folder may have to grow for the new names."""
CLUSTER_BYTES = 64 * KIB
"""The largest on FAT; assumed where the file system does not say."""
KIT_PACKED_PERCENT = 62
"""What the kit's base part takes in an initramfs, at most (measured: 38 % with zstd for amd64, 59 % with gzip for
armhf)."""

MBR_LIMIT_BYTES = 2**32 * SECTOR_BYTES
"""An MBR has 32 bits for a sector's number. balenaOS then does not grow resin-data at all (meta-balena issue 2241)."""
SMALL_BLOCKS_LIMIT_BYTES = 1023 * GIB
"""Beyond it, a file system with blocks of 1 KiB cannot be mounted any more (meta-balena issue 1977, pull request
2019)."""

CODES = (
    Code("root-not-on-disk", BLOCKS, "The root file system is not on a block device (network, RAM, overlay)."),
    Code("root-file-system", BLOCKS, f"The root file system is none of {', '.join(ROOT_FILE_SYSTEMS)}."),
    Code(
        "root-read-only",
        BLOCKS,
        "The root file system is mounted read-only, so stage 1 cannot leave anything for stage 2.",
        "Mount it read-write for the migration (mount -o remount,rw /), unless the kernel's log (dmesg) names errors.",
    ),
    Code(
        "root-on-TYPE",
        BLOCKS,
        "The root file system is on LVM, RAID, encryption, a disk on the network or the like, which stage 2 would not"
        " find, or which would hold it while it is overwritten. TYPE is lsblk's (lvm, crypt, mpath, raid1, ...) or the"
        " driver's or transport's name (bcache, nbd, iscsi, ...). Of LUKS it is said whether a TPM unlocks it.",
    ),
    Code("several-disks", BLOCKS, "The root file system is on several disks."),
    Code("boot-on-other-disk", BLOCKS, "/boot and the root file system are on different disks."),
    Code("disk-size", PASSES, "The image fits on the disk."),
    Code("disk-too-small", BLOCKS, "The image is larger than the disk."),
    Code(
        "disk-too-large",
        BLOCKS,
        "The new system could not grow resin-data on a disk of this size: the image has an MBR, which ends at 2 TiB, or"
        " a resin-data with blocks of 1 KiB, which is destroyed when it is grown beyond 1023 GiB.",
        "Use a newer image, or one of a device type that has a GPT.",
    ),
    Code("disk-sectors", BLOCKS, "The disk's sectors are not of 512 bytes."),
    Code(
        "disk-table-damaged",
        BLOCKS,
        "The GPT at the disk's start is damaged: the kernel would find no partitions at the next start.",
        "Have it written again from its copy, by the command that `check` names.",
    ),
    Code(
        "disk-read-only",
        BLOCKS,
        "The disk is read-only.",
        "See the kernel's log (dmesg): a worn card or disk turns read-only, and must be replaced.",
    ),
    Code("boot-room", PASSES, "The boot folder has room for the initramfs of stage 2."),
    Code(
        "boot-full",
        BLOCKS,
        "The boot folder has no room for the initramfs of stage 2.",
        "Remove kernels that do not run (apt-get purge linux-image-...), or files that nothing starts from.",
    ),
    Code(
        "uuid-twice",
        BLOCKS,
        "Another device has the UUID by which stage 2 looks for a file system, as a copy of the disk has.",
        "Unplug the copy, or give it another UUID, by the command that `check` names.",
    ),
    Code(
        "disk-twice",
        BLOCKS,
        "Another disk has the same size, the same id of its partition table and no other serial number, as a copy may"
        " have: stage 2 could not tell which of them to overwrite.",
        "Unplug the other one, or give its partition table another id (sfdisk --disk-id).",
    ),
    Code(
        "root-twice",
        BLOCKS,
        "The kernel's argument root= names another partition as well, as a copy of the disk has it: the way back to the"
        " old system may lead into the copy.",
        "Unplug the copy, or give it another id, by the command that `check` names.",
    ),
    Code("log-drive-missing", BLOCKS, "LOG_DRIVE does not exist.", "Plug it in, or leave LOG_DRIVE empty."),
    Code(
        "log-drive-on-target",
        BLOCKS,
        "LOG_DRIVE is on the disk that will be overwritten.",
        "Name a partition of another disk.",
    ),
    Code(
        "log-drive-file-system",
        BLOCKS,
        "LOG_DRIVE does not contain the file system that LOG_FS_TYPE names.",
        "Set LOG_FS_TYPE to the file system that is there.",
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    yield from _check_root(survey)
    yield from _check_boot_disk(survey)
    yield from _check_size(survey)
    yield from _check_boot_room(survey)
    yield from _check_uuids(survey)
    yield from _check_alike(survey)
    yield from _check_root_argument(survey)
    yield from _check_log_drive(survey)


def _check_root(survey: Survey) -> Iterator[Finding]:
    root, device = survey.root, survey.root_device
    if root is None or device is None:
        where = root.source if root else "an unknown device"
        yield blocker("root-not-on-disk", f"the root file system is on {where}, which is not a block device")
        return
    if root.fstype not in ROOT_FILE_SYSTEMS:
        yield blocker("root-file-system", f"the root file system is {root.fstype}, which is not supported")
    if "ro" in root.options:
        cause = "the root file system is mounted read-only: stage 1 cannot leave anything for stage 2"
        remedy = "mount it read-write for the migration (mount -o remount,rw /), unless dmesg names errors of the disk"
        yield blocker("root-read-only", cause, remedy)
    for part in survey.facts.disks.chain(device):
        if layer := part.layer:
            what = BELOW_ROOT.get(layer, f"{layer} (RAID)" if layer.startswith("raid") else layer)
            cause = (
                f"the root file system is on {what} ({part.path}{_unlocked_by(survey, part)}): stage 2 would not find"
                " or not free its disk"
            )
            yield blocker(f"root-on-{layer}", cause)
    if survey.target is None:
        names = ", ".join(disk.path for disk in survey.facts.disks.disks_below("/"))
        yield blocker("several-disks", f"the root file system is on several disks: {names}")


def _unlocked_by(survey: Survey, part: BlockDevice) -> str:
    """What unlocks the device, as an addition to its name."""
    below = survey.facts.disks.chain(part)
    tokens = [token for device in below for token in device.luks_tokens]
    if not tokens:
        return ""
    tpm = "the TPM holds a key of it, " if set(tokens) & set(TPM_TOKENS) else ""
    return f", {tpm}tokens: {', '.join(tokens)}"


def _check_boot_disk(survey: Survey) -> Iterator[Finding]:
    loader = survey.boot_loader
    folder = loader.boot_folder(survey.facts) if loader else "/boot"
    root, boot = (survey.facts.disks.disks_below(path) for path in ("/", folder))
    if root and boot != root:
        names = ", ".join(disk.path for disk in boot) or "no disk"
        yield blocker("boot-on-other-disk", f"{folder} is on {names}, but the root file system is on {root[0].path}")


def _check_size(survey: Survey) -> Iterator[Finding]:
    if survey.image is None or survey.target is None:
        return
    disk, image = survey.target.size_bytes, survey.image.size_bytes
    text = f"the image needs {in_mib(image)}; {survey.target.path} has {in_mib(disk)}"
    if disk < image:
        yield blocker("disk-too-small", text)
    else:
        yield passed("disk-size", text)
    if limit := _growth_limit(survey.image, disk):
        cause = f"{survey.target.path} has {in_mib(disk)}, and {limit}"
        yield blocker("disk-too-large", cause, "use a newer image, or one of a device type that has a GPT")
    if survey.target.sector_bytes != SECTOR_BYTES:
        cause = f"{survey.target.path} has sectors of {survey.target.sector_bytes} bytes, not 512"
        yield blocker("disk-sectors", cause)
    if survey.target.table_type == TableKind.GPT and not survey.target.table_id:
        path = survey.target.path
        cause = (
            f"the GPT at the start of {path} is damaged, and its copy at the end is not: the kernel does not look at"
            " that one, so after the next start it would find no partitions"
        )
        copied = f"sfdisk --dump {path} > /root/table && sfdisk --no-reread --force {path} < /root/table"
        yield blocker("disk-table-damaged", cause, f"have it written again from the copy: {copied}")
    if survey.target.read_only:
        remedy = "see the kernel's log (dmesg): a worn card or disk turns read-only, and must be replaced"
        yield blocker("disk-read-only", f"{survey.target.path} is read-only", remedy)


def _growth_limit(image: Image, disk_bytes: int) -> str:
    """Why the new system cannot use a disk of this size; "" if it can."""
    if image.table.kind is TableKind.DOS and disk_bytes > MBR_LIMIT_BYTES:
        return "the image has an MBR, which ends at 2 TiB: the new system leaves resin-data as small as it is"
    system = image.data_file_system
    if system and system.block_bytes == KIB and disk_bytes - image.data.start_bytes > SMALL_BLOCKS_LIMIT_BYTES:
        return "the image's resin-data has blocks of 1 KiB: grown beyond 1023 GiB, it cannot be mounted any more"
    return ""


def initramfs_estimate(survey: Survey) -> InitramfsSize:
    """How large the migration initramfs gets: kernel modules and programs, and the kit's base part."""
    own = survey.initramfs.size
    return InitramfsSize(
        packed_bytes=own.packed_bytes + _kit_packed_bytes(survey),
        unpacked_bytes=own.unpacked_bytes + survey.kit_base_bytes,
    )


def _kit_packed_bytes(survey: Survey) -> int:
    return survey.kit_base_bytes * KIT_PACKED_PERCENT // 100


def _check_boot_room(survey: Survey) -> Iterator[Finding]:
    loader = survey.boot_loader
    if loader is None:
        return
    folder = loader.boot_folder(survey.facts)
    mount = survey.facts.disks.find_mount(folder)
    if mount is None:
        return
    own, what = survey.initramfs.size.packed_bytes, survey.initramfs.size_text
    kit, free = _kit_packed_bytes(survey), mount.free_bytes
    block = mount.block_bytes or CLUSTER_BYTES
    others = configuration_bytes(survey.facts.boot.files, folder, block)
    kernel = loader.kernel_copy_bytes(survey.facts)
    copy = f", a copy of the kernel {in_mib(kernel)}" if kernel else ""
    text = (
        f"the initramfs takes about {own // MIB} ({what}) + {kit // MIB} (kit) ="
        f" {in_mib(own + kit)}{copy} and the boot configuration at most {others // KIB} KiB more;"
        f" {folder} has {in_mib(free)} free"
    )
    if own + kit + kernel + others > free:  # the rest is whole blocks, so the first two round up by themselves
        kernels = "remove kernels other than the running one (uname -r; apt-get purge linux-image-...)"
        files = f"remove files that nothing starts from (du -a {folder})"
        yield blocker("boot-full", text, files if mount.fstype in FAT else kernels)
    else:
        yield passed("boot-room", text)


def configuration_bytes(files: Mapping[str, str], folder: str, block_bytes: int) -> int:
    """The most that the boot loader's changed files take, next to the old ones, which remain until the new are whole.

    Each takes whole blocks, however short it is.
    """
    sizes = [len(text.encode("utf-8", "surrogateescape")) for path, text in files.items() if path.startswith(folder)]
    needed = [size + CHANGE_BYTES for size in (*sizes, *[0] * SMALL_FILES)]
    return sum(rounded_up(size, block_bytes) for size in needed) + FOLDER_CLUSTERS * block_bytes


def rounded_up(size_bytes: int, block_bytes: int) -> int:
    """The size in whole blocks."""
    return -(-size_bytes // block_bytes) * block_bytes


def _check_uuids(survey: Survey) -> Iterator[Finding]:
    """Whether each file system that stage 2 looks for is the only one with its UUID."""
    devices, needed = survey.facts.disks.devices, survey.initramfs.needs.devices
    for uuid in dict.fromkeys(device.uuid for device in devices if device.name in needed and device.uuid):
        found = find_twins(survey.facts.disks, uuid)
        if len(found) > 1:
            names = " and ".join(device.path for device in found)
            cause = f"{names} have the same UUID {uuid}, by which stage 2 looks for one of them"
            yield blocker("uuid-twice", cause, twin_remedy(survey.facts.disks, found))


def _check_alike(survey: Survey) -> Iterator[Finding]:
    """Whether stage 2 can tell the disk from all others: what it cannot, it leaves alone."""
    if survey.target is None:
        return
    others = [disk for disk in find_alike(survey.facts.disks, survey.target) if disk != survey.target]
    for disk in others:
        cause = (
            f"{disk.path} has the size of {survey.target.path}, the same id of its partition table"
            f" ({disk.table_id or 'none'}) and no other serial number: stage 2 could not tell which one to overwrite"
        )
        yield blocker("disk-twice", cause, f"unplug {disk.path}, or give it another id ({new_table_id(disk)})")


def _check_root_argument(survey: Survey) -> Iterator[Finding]:
    """Whether the old system starts from this root and no other: that is where each way back leads."""
    disks, root = survey.facts.disks, survey.root_device
    name = find_root_argument(survey.facts.boot.kernel_command_line)
    found = find_named(disks, name)
    if root is None or root not in found:
        return
    for device in found:
        if device != root:
            cause = f"root={name} names {root.path} and {device.path}: the old system may start from the other one"
            yield blocker("root-twice", cause, f"unplug {device.path}{_or_rename(disks, device, name)}")


def _or_rename(disks: DiskFacts, device: BlockDevice, name: str) -> str:
    """The command by which root= does not name this device any more."""
    if not name.startswith("LABEL="):
        return f", or give it another id ({new_partuuid(disks, device)})"
    return f", or give it another label (e2label {device.path} copy)" if device.fstype.startswith("ext") else ""


def _check_log_drive(survey: Survey) -> Iterator[Finding]:
    path, fstype, device = survey.config.log_drive, survey.config.log_fs_type, survey.log_device
    if not path:
        return
    if device is None:
        yield blocker("log-drive-missing", f"LOG_DRIVE={path} does not exist", "plug it in, or leave LOG_DRIVE empty")
    elif survey.target in survey.facts.disks.chain(device):
        cause = f"LOG_DRIVE={path} is on {_path(survey.target)}, which will be overwritten"
        yield blocker("log-drive-on-target", cause, "name a partition of another disk")
    elif not device.uuid or device.fstype != fstype:
        cause = f"LOG_DRIVE={path} contains {device.fstype or 'no file system'}, but LOG_FS_TYPE is {fstype}"
        yield blocker("log-drive-file-system", cause, "set LOG_FS_TYPE to the file system that is there")


def _path(device: BlockDevice | None) -> str:
    return device.path if device else "no disk"
