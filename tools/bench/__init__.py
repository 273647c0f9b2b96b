# SPDX-License-Identifier: Apache-2.0
"""How fast an image gets onto a disk: our flash engine beside gzip | dd and bmaptool. See docs/performance.md."""
