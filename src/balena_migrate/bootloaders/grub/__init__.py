# SPDX-License-Identifier: Apache-2.0
"""GRUB 2 as a boot loader: its environment block, its language, our menu entry, and what is checked before."""

from balena_migrate.bootloaders.grub.loader import BOOT_LOADER

__all__ = ["BOOT_LOADER"]
