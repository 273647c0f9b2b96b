# SPDX-License-Identifier: Apache-2.0
"""The Raspberry Pi's firmware as a boot loader: its boards, config.txt, and what may be changed there."""

from balena_migrate.bootloaders.raspberrypi.firmware import BOOT_LOADER

__all__ = ["BOOT_LOADER"]
