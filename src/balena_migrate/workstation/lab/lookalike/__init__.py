# SPDX-License-Identifier: Apache-2.0
"""Images that equal balenaOS's byte for byte where a migration looks, and that boot to report what was written.

`build_image` builds one, `parse_report` parses what its system reported on the serial console.
"""

from balena_migrate.workstation.lab.lookalike.build import build_image, image_content, write_image
from balena_migrate.workstation.lab.lookalike.content import Content
from balena_migrate.workstation.lab.lookalike.reported import Report, ReportedFile, ReportedPartition, parse_report
from balena_migrate.workstation.lab.lookalike.specs import SPECS, ImageSpec, find_spec

__all__ = [
    "SPECS",
    "Content",
    "ImageSpec",
    "Report",
    "ReportedFile",
    "ReportedPartition",
    "build_image",
    "find_spec",
    "image_content",
    "parse_report",
    "write_image",
]
