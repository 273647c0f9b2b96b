# SPDX-License-Identifier: Apache-2.0
"""32-bit PCs, as the first description names them; there is no public image for them today."""

from __future__ import annotations

from balena_migrate.devices import DeviceType, Tested
from balena_migrate.devices._pc import is_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="intel-core2-32",
    name="Intel 32-bit PC",
    matches=is_pc,
    firmware=(Firmware.BIOS,),
    image_tags=("intel-core2-32",),
    tested=(
        Tested(
            image="as 2.82, with Debian's 32-bit kernel",
            machine="QEMU q35 with a 32-bit processor (qemu32), AHCI disk",
            firmware="real SeaBIOS, real GRUB 2.06",
            system="Debian 12 i386, kernel 686",
            what="full migration",
        ),
    ),
)
