# SPDX-License-Identifier: Apache-2.0
"""Every path that this tool writes on a device; docs/files.md says who reads each and when it is removed."""

STATE_DIR = "/var/lib/balena-migrate"
JOURNAL = f"{STATE_DIR}/journal.jsonl"
WORK_DIR = f"{STATE_DIR}/run"
"""What a run creates for stage 2; undo removes it."""
PATCHES = f"{WORK_DIR}/boot-partition.patches"
INITRAMFS_CONFIG = f"{WORK_DIR}/initramfs-tools"

STAGE2_CONFIG = "/etc/balena-migrate-stage2.conf"
STAGE2_MODULES = "/etc/balena-migrate-modules"
"""The kernel modules that stage 2 loads: a line each, file and parameters."""
STAGE2_RESULT = f"{STATE_DIR}/stage2.json"
STAGE2_LOG = f"{STATE_DIR}/stage2.log"
STAGE1_LOG = f"{STATE_DIR}/stage1.log"

LOCK = "/run/balena-migrate.lock"
"""Locked while something changes the device; says who that is."""

KNOWN_DIR = "/var/cache/balena-migrate"
KNOWN_IMAGE = f"{KNOWN_DIR}/image"
"""What is known of the image that was read last; holds its boot partition, and so its keys."""

INITRAMFS_NAME = "balena-migrate-initramfs"
EFI_KERNEL_NAME = "balena-migrate-kernel.efi"
"""A copy of the running kernel, which UEFI firmware starts; on the EFI system partition, beside the initramfs."""
BOOT_ENTRY = "balena-migrate"
"""The id of the one-shot entry in the boot loader's menu."""

# In the initramfs: these folders are in memory, and disappear with the reboot.
STAGE2_FILES = "/balena-migrate/files"
"""What stage 2 loads into memory."""
STAGE2_LINE = "/balena-migrate/line"
"""Where stage 2 notes that it has crossed the line."""
STAGE2_SAID = "/balena-migrate/said"
"""Where a process of stage 2 keeps what it says, for one that follows it."""
STAGE2_LOG_DRIVE = "/balena-migrate/log"
STAGE2_DATA = "/balena-migrate/data"
"""Where stage 2 mounts resin-data of the new system."""
STAGE2_STATE = "/balena-migrate/state"
"""Where stage 2 mounts resin-state of the new system."""

STAGE2_ASIDE = "/balena-migrate/aside"
"""Where stage 2 keeps what the initramfs had mounted below the old root without a disk: a tmpfs, for example."""

MIGRATE_LOG = "migrate.log"
"""Stage 2's log: in the root folder of resin-data, and of the log drive."""
