# SPDX-License-Identifier: Apache-2.0
"""UEFI firmware as what starts stage 2, once and by itself: BootNext, and an entry for the kernel's own EFI stub."""

from balena_migrate.bootloaders.efi.loader import BOOT_LOADER

__all__ = ["BOOT_LOADER"]
