# SPDX-License-Identifier: Apache-2.0
"""The card of a virtual Raspberry Pi starts its old system, through the firmware stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.lab.disks import copy_disk
from balena_migrate.workstation.lab.scenarios.raspberrypi import USERLAND_32
from balena_migrate.workstation.lab.timeline import Timeline
from balena_migrate.workstation.lab.virtual import VirtualDevice

pytestmark = pytest.mark.vm


def test_a_32_bit_system_starts_on_a_64_bit_kernel_with_its_boot_partition(tmp_path: Path) -> None:
    """The other boards start theirs in test_rehearsals."""
    guest = USERLAND_32.device.guest
    built = guest.build(guest.disk_mib, cache_folder(), print)
    card = tmp_path / "card.img"
    copy_disk(built.disk, card)
    device = VirtualDevice(machine=built.machine, drives=(card,), folder=tmp_path, timeline=Timeline(print))
    with device.on(guest.memory_mib) as boot:
        shell = boot.log_in()
        said = shell.run("cat /proc/device-tree/model; echo; mount; lsblk -n -o NAME,PARTUUID", timeout_s=300)
        assert shell.run("uname -m; od -A n -t x1 -j 4 -N 1 /bin/sh", timeout_s=60).split() == ["aarch64", "01"]
    assert "/dev/mmcblk0p1 on /boot/firmware type vfat" in said
    assert "7b1f3a60-02" in said
    assert "Raspberry Pi 3 Model B" in said
