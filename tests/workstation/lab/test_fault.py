# SPDX-License-Identifier: Apache-2.0
"""An initramfs in which something goes wrong starts the real stage 2, by way of the script that lets it happen."""

from __future__ import annotations

import io

from balena_migrate.initramfs._cpio import Archive, read_names
from balena_migrate.workstation.lab.fault import device_script, with_faults


def test_the_kits_script_starts_it_with_what_goes_wrong() -> None:
    file = io.BytesIO()
    archive = Archive(file)
    archive.file("init", b"#!/bin/sh\n", mode=0o755)
    archive.end()
    content = with_faults(file.getvalue(), "secure=memory short")
    more = content[len(file.getvalue()) :]
    names = [str(name) for name in read_names(io.BytesIO(more[more.index(b"070701") :]))]
    assert names == ["balena-migrate/base/stage2", "balena-migrate/device.py"]
    start = "-X utf8 /balena-migrate/device.py 'secure=memory short' /run / balena_migrate.stage2.main"
    assert f'{start} "$@"'.encode() in more
    assert device_script().encode() in more
