# SPDX-License-Identifier: Apache-2.0
"""Every Raspberry Pi, and the filters of config.txt that are named after boards."""

from __future__ import annotations

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model

CHIPS = {
    Chip.BCM2835: (Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1, Model.ZERO, Model.ZERO_W),
    Chip.BCM2836: (Model.TWO_B,),
    Chip.BCM2837: (
        *(Model.THREE_B, Model.THREE_B_PLUS, Model.THREE_A_PLUS),
        *(Model.CM3, Model.CM3_PLUS, Model.ZERO_2_W),
    ),
    Chip.BCM2711: (Model.FOUR_B, Model.FOUR_HUNDRED, Model.CM4, Model.CM4S),
    Chip.BCM2712: (Model.FIVE, Model.CM5, Model.CM5_LITE, Model.FIVE_HUNDRED),
}
BOARDS = {model: Board(model=model, chip=chip, memory_bytes=0) for chip, models in CHIPS.items() for model in models}

FILTERS = (
    *("pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi4", "pi400", "pi5", "pi500"),
    *("cm0", "cm1", "cm3", "cm3+", "cm4", "cm4s", "cm5"),
)
