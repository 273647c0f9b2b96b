# SPDX-License-Identifier: Apache-2.0
"""An image with a system that reports nothing, as a user's own: Debian's kernel, and an init that prints one line."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path

from balena_migrate.core.progress import Say
from balena_migrate.core.units import MIB
from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.lab.disks import read_partitions
from balena_migrate.workstation.lab.lookalike.build import build_image
from balena_migrate.workstation.lab.lookalike.bundle import bundle_kernel
from balena_migrate.workstation.lab.lookalike.initramfs import make_initramfs
from balena_migrate.workstation.lab.lookalike.sources import fetch_sources
from balena_migrate.workstation.lab.lookalike.specs import ImageSpec
from balena_migrate.workstation.mtools import FatDrive

GREETING = "a system of its own is up"
_INIT = f"""\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
echo "{GREETING}" >/dev/ttyS0
/bin/busybox poweroff -f
"""


def build_foreign(spec: ImageSpec, cache: Path, say: Say) -> Path:
    """The image of a look-alike whose kernel is in resin-boot, with this system in place of the one that reports."""
    lookalike = build_image(spec, cache, say)

    def make(folder: Path) -> None:
        say("building an image with another system")
        sources = fetch_sources(spec.board, cache)
        kernel = bundle_kernel(sources.kernel.read_bytes(), make_initramfs(sources.root, _INIT.encode()))
        with tempfile.TemporaryDirectory(dir=cache) as work:
            raw = Path(work) / "raw"
            with gzip.open(lookalike) as source, raw.open("wb") as target:
                shutil.copyfileobj(source, target, MIB)
            FatDrive(image=raw, offset_bytes=read_partitions(raw)[0].start_bytes).write_file(spec.kernel_name, kernel)
            with raw.open("rb") as source, gzip.open(folder / spec.file_name, "wb", compresslevel=1) as packed:
                shutil.copyfileobj(source, packed, MIB)

    return cached(cache, f"foreign-{spec.name}", (str(lookalike.parent), _INIT), make) / spec.file_name
