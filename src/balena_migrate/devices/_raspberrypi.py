# SPDX-License-Identifier: Apache-2.0
"""What the device types of Raspberry Pis have in common."""

from __future__ import annotations

from collections.abc import Callable

from balena_migrate.bootloaders.raspberrypi.board import Model, find_board
from balena_migrate.facts import Facts


def is_board(*models: Model) -> Callable[[Facts], bool]:
    """Whether the facts are those of one of these boards, by its hardware: user space may have another word size."""

    def matches(facts: Facts) -> bool:
        board = find_board(facts.hardware)
        return board is not None and board.model in models

    return matches
