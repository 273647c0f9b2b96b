# SPDX-License-Identifier: Apache-2.0
"""Every path on a device that this tool writes; docs/files.md says who reads each and when it goes."""

STATE_DIR = "/var/lib/balena-migrate"
JOURNAL = f"{STATE_DIR}/journal.jsonl"
WORK_DIR = f"{STATE_DIR}/run"
"""What one run makes for stage 2; goes with undo."""
PATCHES = f"{WORK_DIR}/boot-partition.patches"
INITRAMFS_CONFIG = f"{WORK_DIR}/initramfs-tools"

STAGE2_CONFIG = "/etc/balena-migrate-stage2.conf"
STAGE2_REPORT = f"{STATE_DIR}/stage2.json"
STAGE2_LOG = f"{STATE_DIR}/stage2.log"
STAGE1_LOG = f"{STATE_DIR}/stage1.log"

INITRAMFS_NAME = "balena-migrate-initramfs"
BOOT_ENTRY = "balena-migrate"
"""The id of the one-shot entry in the boot loader's menu."""
