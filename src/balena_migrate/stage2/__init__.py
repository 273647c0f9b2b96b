# SPDX-License-Identifier: Apache-2.0
"""Stage 2: runs from the initramfs and turns the disk into the new system's. Imports the standard library only."""
