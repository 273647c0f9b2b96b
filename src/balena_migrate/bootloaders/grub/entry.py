# SPDX-License-Identifier: Apache-2.0
"""Our menu entry in custom.cfg, with its way back: GRUB starts the old system if it cannot load stage 2."""

from __future__ import annotations

import re

from balena_migrate.bootloaders.arguments import choose_arguments, stage2_arguments
from balena_migrate.bootloaders.grub.files import boot_file_system, boot_prefix
from balena_migrate.bootloaders.grub.words import quote
from balena_migrate.core.paths import BOOT_ENTRY, INITRAMFS_NAME
from balena_migrate.facts import BlockDevice, Facts, Mount
from balena_migrate.settings import Config

_BACK = "balena_migrate_back"
"""Set, for this start alone, where GRUB could not load stage 2."""

FORGOTTEN = ("chosen", "default", "fallback", "timeout", "boot_once", "next_entry", "prev_entry", "recordfail")
"""What the way back must not inherit. `chosen` above all: GRUB would put our entry's id before that of the old system's
entry, and where grub.cfg saves what was chosen, every later start would begin with ours."""

_TEXT = f"""\
# balena-migrate: the start of stage 2, and the way back, on which GRUB reads this once more.
if [ -n "${{{_BACK}}}" -o "${{default}}" = "{BOOT_ENTRY}" ]; then
  set timeout_style=menu
  set timeout=0
fi
if [ -z "${{{_BACK}}}" ]; then
  menuentry "{BOOT_ENTRY}" --unrestricted --id {BOOT_ENTRY} {{
    set old_root="${{root}}"
@MODULES@
    set root='@ROOT@'
    search --no-floppy --fs-uuid --set=root @UUID@
    if [ -s @PREFIX@/{INITRAMFS_NAME} ]; then
      if linux @PREFIX@/@KERNEL@ @ARGUMENTS@; then
        if initrd @PREFIX@/{INITRAMFS_NAME}; then
          boot
        fi
        set next_entry=
        load_env
        if [ -z "${{next_entry}}" ]; then
          reboot
        fi
      fi
    fi
    echo "balena-migrate: GRUB cannot load stage 2 and starts the old system"
    set root="${{old_root}}"
@FORGET@
    set {_BACK}=1
    export {_BACK}
    configfile "${{prefix}}/grub.cfg"
    reboot
  }}
fi
"""


def entry_text(config: Config, facts: Facts) -> str:
    """The menu entry that starts the running kernel with our initramfs and the arguments that it gets.

    If it cannot be loaded, GRUB reads grub.cfg anew, as at a start of its own: next_entry is cleared by then, and our
    entry is not offered again even where it could not be cleared. Where the kernel is loaded already, and only the
    initramfs is not, GRUB reboots: 2.06 frees the command line of a second kernel together with that of the first
    (grub-core/loader/i386/linux.c, grub_linux_unload), so the old system would start without arguments.

    Requires facts that `check` found in order.
    """
    mount, device = boot_file_system(facts)
    modules = ("part_msdos", "part_gpt", _module_for(mount), "gzio")
    values = {
        "MODULES": "\n".join(f"    insmod {module}" for module in modules),
        "ROOT": _fallback_root(config, facts, device),
        "UUID": device.uuid,
        "PREFIX": boot_prefix(mount),
        "KERNEL": f"vmlinuz-{facts.boot.kernel_release}",
        "ARGUMENTS": " ".join(map(quote, stage2_arguments(config, choose_arguments(facts.boot.kernel_command_line)))),
        "FORGET": "\n".join(f"    unset {name}" for name in FORGOTTEN),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], _TEXT)


def _module_for(mount: Mount) -> str:
    return {"vfat": "fat", "xfs": "xfs"}.get(mount.fstype, "ext2")


def _fallback_root(config: Config, facts: Facts, device: BlockDevice) -> str:
    """Where GRUB looks if no file system has the UUID."""
    match = re.search(r"([0-9]+)$", device.name)
    disk = next((d for d in facts.disks.chain(device) if d.kind == "disk"), device)
    kind = "gpt" if disk.table_type == "gpt" else "msdos"
    return f"{config.grub_boot_dev},{kind}{match[1] if match else 1}"
