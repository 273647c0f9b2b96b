"""The cards of virtual Raspberry Pis start their old systems, through the firmware stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.lab.cache import cache_folder
from balena_migrate.lab.disks import copy_disk, mounted
from balena_migrate.lab.pi_cards import PI_GUESTS, ROOT, PiGuest, build_card
from balena_migrate.lab.pi_device import PiDevice
from balena_migrate.lab.timeline import Timeline

pytestmark = pytest.mark.vm

LOOK = "uname -m; cat /proc/device-tree/model; echo; mount; lsblk -n -o NAME,UUID,PARTUUID\n"


# The others start theirs in test_rehearsals.
@pytest.mark.parametrize("guest", [guest for guest in PI_GUESTS if guest.userland], ids=lambda guest: guest.name)
def test_a_card_starts_its_old_system_with_the_boot_partition_mounted(guest: PiGuest, tmp_path: Path) -> None:
    card = tmp_path / "card.img"
    copy_disk(build_card(guest, cache_folder(), print), card)
    with mounted(card, ROOT) as root:
        (root / "root/lab.sh").write_text(LOOK)
    device = PiDevice(guest, card, tmp_path, Timeline(print))
    said = device.run_to_end(900)
    assert "/dev/mmcblk0p1 on /boot/firmware type vfat" in said
    assert "7b1f3a60-02" in said
    assert guest.board.name in said
