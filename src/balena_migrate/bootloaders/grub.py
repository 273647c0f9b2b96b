# SPDX-License-Identifier: Apache-2.0
"""GRUB 2 on a PC with BIOS: a one-shot menu entry, and boot code for images that have none.

The entry goes into custom.cfg, which Debian's and Ubuntu's grub.cfg reads at every start (41_custom), and is chosen
once by `next_entry` in grubenv, which grub.cfg clears before it boots (00_header). Both are plain file writes, so
nothing has to run to undo them. GRUB clears next_entry by writing the blocks of grubenv in place, which it
cannot do on LVM, RAID, btrfs and the like (GRUB manual, "Environment block"): such a device would boot stage 2 forever.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from balena_migrate.bootloaders import PANIC_REBOOT_S, BootAssets, ImageBoot
from balena_migrate.core.balena import BOOT_LABEL, ROOT_LABEL
from balena_migrate.core.changes import Action, ActionName, WriteFile
from balena_migrate.core.errors import ImageError
from balena_migrate.core.paths import BOOT_ENTRY, INITRAMFS_NAME
from balena_migrate.core.system import System
from balena_migrate.facts import BlockDevice, DiskFacts, Facts, Firmware, Mount
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.images.boot_file import BootFile
from balena_migrate.images.patches import Block
from balena_migrate.settings import Config

FOLDER = "/boot/grub"
GRUB_CFG = f"{FOLDER}/grub.cfg"
GRUBENV = f"{FOLDER}/grubenv"
CUSTOM_CFG = f"{FOLDER}/custom.cfg"
MODULES = "/usr/lib/grub/i386-pc"

ENVIRONMENT_BYTES = 1024
ENVIRONMENT_HEADER = "# GRUB Environment Block\n"
WRITABLE_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "vfat", "xfs")

BOOT_CODE_BYTES = 440
"""The part of LBA 0 that boot.img may fill; the disk's id and the partition table follow."""

CORE_MODULES = ("biosdisk", "part_msdos", "part_gpt", "fat", "ext2", "normal", "linux", "search", "configfile")
"""All that core.img needs to read grub.cfg from resin-boot and to start a kernel; resin-boot needs no modules then."""

_UPDATE = "Run update-grub."
CODES = (
    Code("grub-one-shot", PASSES, "GRUB can start an entry exactly once."),
    Code(
        "grub-no-one-shot", BLOCKS, "grub.cfg does not read next_entry, so no entry can be started just once.", _UPDATE
    ),
    Code(
        "grub-no-custom",
        BLOCKS,
        "grub.cfg does not read custom.cfg, where the entry of stage 2 would be.",
        "Make /etc/grub.d/41_custom executable and run update-grub.",
    ),
    Code("grub-other-one-shot", WARNS, "GRUB already has a one-shot entry, which stage 2 replaces."),
    Code("grubenv-missing", BLOCKS, "GRUB's environment block does not exist.", f"Run grub-editenv {GRUBENV} create."),
    Code("grubenv-damaged", BLOCKS, "GRUB's environment block is damaged.", f"Run grub-editenv {GRUBENV} create."),
    Code("grubenv-not-writable", BLOCKS, "GRUB cannot clear the one-shot entry on this file system or device."),
)


def parse_environment(text: str) -> dict[str, str]:
    """The variables of a GRUB environment block. Raises ValueError for anything else."""
    if not text.startswith(ENVIRONMENT_HEADER) or len(text.encode("utf-8", "surrogateescape")) != ENVIRONMENT_BYTES:
        raise ValueError("not an environment block of 1024 bytes")
    lines = text[len(ENVIRONMENT_HEADER) :].split("\n")
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key: re.sub(r"\\(.)", r"\1", value) for key, _, value in pairs}


def dump_environment(variables: dict[str, str]) -> bytes:
    """The environment block with these variables. Raises ValueError if they do not fit."""
    lines = (key + "=" + value.replace("\\", "\\\\") + "\n" for key, value in variables.items())
    block = (ENVIRONMENT_HEADER + "".join(lines)).encode("utf-8", "surrogateescape")
    if len(block) > ENVIRONMENT_BYTES:
        raise ValueError("the variables do not fit into 1024 bytes")
    return block.ljust(ENVIRONMENT_BYTES, b"#")


def entry_text(config: Config, facts: Facts) -> str:
    """The menu entry that starts the running kernel with our initramfs and the running kernel's arguments.

    Requires facts that `check` found in order.
    """
    mount, device = _boot_file_system(facts)
    prefix = _prefix_on(mount)
    arguments = [word for word in facts.boot.kernel_command_line.split() if _is_kept(word)]
    if config.debug and "debug" not in arguments:
        arguments.append("debug")
    lines = [
        f'menuentry "{BOOT_ENTRY}" --id {BOOT_ENTRY} {{',
        *(f"    insmod {module}" for module in ("part_msdos", "part_gpt", _module_for(mount), "gzio")),
        f"    set root='{_fallback_root(config, facts, device)}'",
        f"    search --no-floppy --fs-uuid --set=root {device.uuid}",
        f"    linux {prefix}/vmlinuz-{facts.boot.kernel_release} {' '.join(arguments)} panic={PANIC_REBOOT_S}",
        f"    initrd {prefix}/{INITRAMFS_NAME}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _is_kept(word: str) -> bool:
    return not word.startswith(("BOOT_IMAGE=", "panic=", "initrd="))


def _boot_file_system(facts: Facts) -> tuple[Mount, BlockDevice]:
    mount = facts.disks.find_mount(FOLDER)
    device = facts.disks.find_device(mount.source) if mount else None
    if mount is None or device is None:
        raise ImageError(f"{FOLDER} is not on a block device")
    return mount, device


def _prefix_on(mount: Mount) -> str:
    """/boot as GRUB sees it on its file system: "" if /boot is a file system of its own."""
    inside = PurePosixPath("/boot").relative_to(mount.mount_point)
    path = str(PurePosixPath(mount.root) / inside)
    return "" if path == "/" else path


def _module_for(mount: Mount) -> str:
    return {"vfat": "fat", "xfs": "xfs"}.get(mount.fstype, "ext2")


def _fallback_root(config: Config, facts: Facts, device: BlockDevice) -> str:
    match = re.search(r"([0-9]+)$", device.name)
    disk = next((d for d in facts.disks.chain(device) if d.kind == "disk"), device)
    kind = "gpt" if disk.table_type == "gpt" else "msdos"
    return f"{config.grub_boot_dev},{kind}{match[1] if match else 1}"


class Grub:
    """GRUB 2 under BIOS."""

    name = "GRUB 2"
    programs = ("update-grub", "grub-mkimage", "grub-install")
    codes = CODES

    def files(self, disks: DiskFacts) -> tuple[str, ...]:
        return (GRUB_CFG, GRUBENV, CUSTOM_CFG)

    def named_files(self, disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]:
        return ()

    def recognise(self, facts: Facts) -> bool:
        return facts.boot.firmware is Firmware.BIOS and GRUB_CFG in facts.boot.files

    def one_shot(self, facts: Facts) -> bool:
        return True

    def reboot_argument(self, facts: Facts) -> str:
        return ""

    def boot_folder(self, facts: Facts) -> str:
        return "/boot"

    def check(self, config: Config, facts: Facts) -> Iterator[Finding]:
        yield from _check_grub_cfg(facts.boot.files[GRUB_CFG])
        yield from _check_environment(facts)

    def boot_actions(self, config: Config, facts: Facts) -> tuple[Action, ...]:
        custom = facts.boot.files.get(CUSTOM_CFG, "")
        entry = (custom + "\n" if custom else "") + entry_text(config, facts)
        variables = {**parse_environment(facts.boot.files[GRUBENV]), "next_entry": BOOT_ENTRY}
        return (
            WriteFile(
                name=ActionName.BOOT_ENTRY,
                title="add a menu entry for stage 2 to GRUB",
                path=CUSTOM_CFG,
                content=entry.encode("utf-8", "surrogateescape"),
            ),
            WriteFile(
                name=ActionName.BOOT_NEXT,
                title="select that entry for the next boot only",
                path=GRUBENV,
                content=dump_environment(variables),
            ),
        )

    def assets(self, system: System, image: ImageBoot) -> BootAssets:
        """Images before meta-balena 2.21 (balena-intel v2.21.0+rev1) have no /grub/grub.cfg and maybe no boot code."""
        if image.has_boot_code and "grub/grub.cfg" in image.boot_files:
            return BootAssets()
        if "vmlinuz" not in image.boot_files:
            raise ImageError("the image has neither a GRUB for BIOS nor a kernel in resin-boot that one could start")
        boot_code, core = _boot_code(system), _core_image(system)
        if 512 + len(core) > image.boot_start_bytes:
            raise ImageError("GRUB's core image does not fit before the first partition")
        return BootAssets(
            files=(BootFile(path="grub/grub.cfg", content=_image_grub_cfg(image).encode()),),
            blocks=(Block(offset_bytes=0, content=boot_code), Block(offset_bytes=512, content=core)),
        )


def _check_grub_cfg(text: str) -> Iterator[Finding]:
    if "next_entry" not in text:
        cause = f"{GRUB_CFG} does not read next_entry, so no entry can be started just once"
        yield blocker("grub-no-one-shot", cause, "run update-grub, which writes a suitable grub.cfg")
    elif "custom.cfg" not in text:
        cause = f"{GRUB_CFG} does not read custom.cfg, where the entry of stage 2 would be"
        yield blocker("grub-no-custom", cause, "make /etc/grub.d/41_custom executable and run update-grub")
    else:
        yield passed("grub-one-shot", "GRUB 2 can start an entry exactly once")


def _check_environment(facts: Facts) -> Iterator[Finding]:
    remedy = f"grub-editenv {GRUBENV} create"
    if obstacle := _find_obstacle(facts):
        yield blocker("grubenv-not-writable", obstacle)
    elif GRUBENV not in facts.boot.files:
        yield blocker("grubenv-missing", f"{GRUBENV} does not exist", remedy)
    else:
        try:
            variables = parse_environment(facts.boot.files[GRUBENV])
            dump_environment({**variables, "next_entry": BOOT_ENTRY})
        except ValueError as error:
            yield blocker("grubenv-damaged", f"{GRUBENV}: {error}", remedy)
        else:
            yield from _check_pending_entry(variables)


def _find_obstacle(facts: Facts) -> str:
    """Why GRUB could not clear the one-shot entry, or not find its own file system; "" if it can."""
    mount = facts.disks.find_mount(GRUBENV)
    device = facts.disks.find_device(mount.source) if mount else None
    if mount is None or device is None:
        return f"{FOLDER} is not on a block device"
    if mount.fstype not in WRITABLE_FILE_SYSTEMS:
        return f"{GRUBENV} is on {mount.fstype}, where GRUB cannot clear the one-shot entry"
    if device.kind not in ("part", "disk"):
        return f"{GRUBENV} is on {device.path} ({device.kind}), where GRUB cannot clear the one-shot entry"
    return "" if device.uuid else f"the file system on {device.path} has no UUID by which GRUB could find it"


def _check_pending_entry(variables: dict[str, str]) -> Iterator[Finding]:
    pending = variables.get("next_entry", "")
    if pending and pending != BOOT_ENTRY:
        cause = f"GRUB is set to start {pending!r} at the next boot; stage 2 replaces that"
        yield warning("grub-other-one-shot", cause)


def _boot_code(system: System) -> bytes:
    """boot.img without the partition table's part; as it is made it loads core.img from LBA 1."""
    return system.read_bytes(f"{MODULES}/boot.img")[:BOOT_CODE_BYTES]


def _core_image(system: System) -> bytes:
    """A core.img that finds its configuration on the first partition of the disk that it was started from.

    grub-mkimage's block list says that the rest of the image follows the first sector, which is at LBA 1: the list's
    last entry is 12 bytes before the end of that sector (start LBA as u64, length as u16, segment as u16).
    """
    with tempfile.TemporaryDirectory(prefix="balena-migrate-") as folder:
        path = f"{folder}/core.img"  # grub-mkimage wants to flush its output, which a pipe cannot do
        options = ["--directory", MODULES, "--format", "i386-pc", "--prefix", "(,msdos1)/grub", "--output", path]
        system.run(["grub-mkimage", *options, *CORE_MODULES])
        image = Path(path).read_bytes()
    start, _, segment = struct.unpack_from("<QHH", image, 500)
    if (start, segment) != (2, 0x820):
        raise ImageError(
            "grub-mkimage made a core image with an unknown block list", hint="use the GRUB of Debian 11 to 13"
        )
    return image


def _image_grub_cfg(image: ImageBoot) -> str:
    """How the system of such an image is started: the kernel is in resin-boot, the root is found by its label."""
    initrd = "initrd /initrd.img\n" if "initrd.img" in image.boot_files else ""
    return (
        "serial --unit=0 --speed=115200\n"
        "terminal_output --append serial\n"
        f"search --no-floppy --label --set=root {BOOT_LABEL}\n"
        f"linux /vmlinuz root=LABEL={ROOT_LABEL} rootwait quiet console=tty1 console=ttyS0,115200\n"
        f"{initrd}boot\n"
    )


BOOT_LOADER = Grub()
