# SPDX-License-Identifier: Apache-2.0
"""The old system's kernel grows file systems of all forms that stage 1 lets pass, through stage 2 in its kit."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.lab.console import Shell
from balena_migrate.workstation.lab.disks import copy_disk, mounted_system
from balena_migrate.workstation.lab.guests.debian_pc import DEBIAN_12
from balena_migrate.workstation.lab.prepare import KIT_FOLDER, put_kit
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.virtual import VirtualDevice

# One virtual device serves them all.
pytestmark = [
    pytest.mark.vm,
    pytest.mark.xdist_group("grow"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

BASE = f"/{KIT_FOLDER}/base"
PYTHON = f"{BASE}/ld.so --inhibit-cache --library-path {BASE}/lib {BASE}/bin/python3 -I -S -X utf8"

FORMS = (
    ("-b 4096 -i 8192", 192 * MIB, 384 * MIB),
    ("-b 4096 -i 8192", 192 * MIB, 1152 * MIB),
    ("-b 4096 -i 8192 -O 64bit,metadata_csum", 192 * MIB, 768 * MIB),
    ("-b 4096 -i 8192 -O ^64bit,^metadata_csum,uninit_bg", 192 * MIB, 384 * MIB),
    ("-b 4096 -i 8192 -O ^has_journal", 192 * MIB, 384 * MIB),
    ("-b 1024", 20 * MIB, 33 * 8 * MIB + 1024),
    ("-b 1024 -O ^flex_bg", 20 * MIB, 10 * 8 * MIB + 1024),
)
"""Options of mke2fs, the size as made, and the size to which it grows: whole block groups."""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A root shell on a Debian 12 that has the kit."""
    folder, cache = tmp_path_factory.mktemp("device"), cache_folder()
    guest = DEBIAN_12.build(DEBIAN_12.disk_mib, cache, print)
    disk = folder / "disk.img"
    copy_disk(guest.disk, disk)
    with mounted_system(disk, guest.file_systems) as root:
        put_kit("amd64", root, cache, print)
    device = VirtualDevice(machine=guest.machine, drives=(disk,), folder=folder, timeline=Timeline(print))
    with device.on(1024) as boot:
        yield boot.log_in()


@pytest.mark.parametrize(("options", "made_bytes", "size_bytes"), FORMS)
def test_the_kernel_grows_it_and_it_stays_clean(shell: Shell, options: str, made_bytes: int, size_bytes: int) -> None:
    """Twice is once: the second call finds nothing to do."""
    grow = f"{PYTHON} -c 'from balena_migrate.stage2.grow import grow; grow(\"/dev/loop0\", {size_bytes})'"
    commands = (
        f"rm -f /fs; truncate -s {size_bytes} /fs",
        f"mke2fs -q -F -t ext4 {options} /fs {made_bytes // 1024}k",
        "losetup /dev/loop0 /fs",
        *(grow, grow),
        "losetup -d /dev/loop0",
        "e2fsck -f -n /fs",
    )
    shell.run(" && ".join(commands), timeout_s=300)
    told = shell.run("dumpe2fs -h /fs 2>/dev/null", timeout_s=60)
    values = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    assert int(values["Block count"]) * int(values["Block size"]) == size_bytes
    assert "resize_inode" in values["Filesystem features"] and "meta_bg" not in values["Filesystem features"]


def test_a_device_that_is_too_small_is_an_error_and_harms_nothing(shell: Shell) -> None:
    grow = f"{PYTHON} -c 'from balena_migrate.stage2.grow import grow; grow(\"/dev/loop0\", {384 * MIB})'"
    shell.run("rm -f /fs; mke2fs -q -F -t ext4 -b 4096 /fs 192m && losetup /dev/loop0 /fs", timeout_s=300)
    said = shell.run(f"{grow} 2>&1", timeout_s=60, ok=(1,))
    shell.run("losetup -d /dev/loop0 && e2fsck -f -n /fs", timeout_s=300)
    assert "/dev/loop0 cannot be grown to 98304 blocks" in said
