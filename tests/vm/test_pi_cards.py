# SPDX-License-Identifier: Apache-2.0
"""The card of a virtual Raspberry Pi starts its old system, through the firmware stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.workstation.cache import cache_folder
from balena_migrate.workstation.lab.disks import copy_disk, mounted
from balena_migrate.workstation.lab.pi_cards import ROOT, build_card
from balena_migrate.workstation.lab.pi_device import PiDevice
from balena_migrate.workstation.lab.pi_scenarios import PI_SCENARIOS
from balena_migrate.workstation.lab.timeline import Timeline

pytestmark = pytest.mark.vm

LOOK = "uname -m; cat /proc/device-tree/model; echo; mount; lsblk -n -o NAME,UUID,PARTUUID\n"


def test_a_32_bit_system_starts_on_a_64_bit_kernel_with_its_boot_partition(tmp_path: Path) -> None:
    """The other boards start theirs in test_rehearsals."""
    guest = PI_SCENARIOS["raspberrypi3-64-userland-32"].guest
    card = tmp_path / "card.img"
    copy_disk(build_card(guest, cache_folder(), print), card)
    with mounted(card, ROOT) as root:
        (root / "root/lab.sh").write_text(LOOK)
    device = PiDevice(guest, card, tmp_path, Timeline(print))
    said = device.run_to_end(900)
    assert "/dev/mmcblk0p1 on /boot/firmware type vfat" in said
    assert "7b1f3a60-02" in said
    assert guest.board.name in said
