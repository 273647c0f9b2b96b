# SPDX-License-Identifier: Apache-2.0
"""Images that look like balenaOS's, byte for byte where a migration looks, and boot to say what was written.

`build_image` makes one, `parse_report` reads what its system said over the serial port.
"""

from balena_migrate.workstation.lab.lookalike.build import build_image, expected_boot_files, write_image
from balena_migrate.workstation.lab.lookalike.reported import Report, ReportedFile, ReportedPartition, parse_report
from balena_migrate.workstation.lab.lookalike.specs import SPECS, ImageSpec, find_spec

__all__ = [
    "SPECS",
    "ImageSpec",
    "Report",
    "ReportedFile",
    "ReportedPartition",
    "build_image",
    "expected_boot_files",
    "find_spec",
    "parse_report",
    "write_image",
]
