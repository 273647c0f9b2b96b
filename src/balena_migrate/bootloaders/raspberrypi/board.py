# SPDX-License-Identifier: Apache-2.0
"""Which Raspberry Pi a board is: its revision code decoded.

The rules are those of "Raspberry Pi revision codes" in the maker's documentation. A new code has bit 23 set and
has fields for type, chip and memory; an old one is an entry of a short list. The bits from 24 on describe the
board's past (overvoltage, warranty), not what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.os_version import Version
from balena_migrate.core.units import MIB
from balena_migrate.facts import HardwareFacts

_CODE_BITS = 0xFF_FFFF
_NEW_STYLE = 1 << 23


class Chip(StrEnum):
    BCM2835 = "BCM2835"
    BCM2836 = "BCM2836"
    BCM2837 = "BCM2837"
    BCM2711 = "BCM2711"
    BCM2712 = "BCM2712"


WITH_EEPROM = (Chip.BCM2711, Chip.BCM2712)
"""Boards whose boot loader is in an EEPROM; that of the others is on the boot partition."""

CHIPS = tuple(Chip)
"""In the order of the code's chip field."""


class Model(StrEnum):
    """A type of board, by the name that its maker prints."""

    A = "Model A"
    B = "Model B"
    A_PLUS = "Model A+"
    B_PLUS = "Model B+"
    TWO_B = "2 Model B"
    CM1 = "Compute Module"
    THREE_B = "3 Model B"
    ZERO = "Zero"
    CM3 = "Compute Module 3"
    ZERO_W = "Zero W"
    THREE_B_PLUS = "3 Model B+"
    THREE_A_PLUS = "3 Model A+"
    CM3_PLUS = "Compute Module 3+"
    FOUR_B = "4 Model B"
    ZERO_2_W = "Zero 2 W"
    FOUR_HUNDRED = "400"
    CM4 = "Compute Module 4"
    CM4S = "Compute Module 4S"
    FIVE = "5"
    CM5 = "Compute Module 5"
    FIVE_HUNDRED = "500"
    """Also the 500+: the code has one type for both."""
    CM5_LITE = "Compute Module 5 Lite"


MODEL_BY_TYPE = {
    0x00: Model.A,
    0x01: Model.B,
    0x02: Model.A_PLUS,
    0x03: Model.B_PLUS,
    0x04: Model.TWO_B,
    0x06: Model.CM1,
    0x08: Model.THREE_B,
    0x09: Model.ZERO,
    0x0A: Model.CM3,
    0x0C: Model.ZERO_W,
    0x0D: Model.THREE_B_PLUS,
    0x0E: Model.THREE_A_PLUS,
    0x10: Model.CM3_PLUS,
    0x11: Model.FOUR_B,
    0x12: Model.ZERO_2_W,
    0x13: Model.FOUR_HUNDRED,
    0x14: Model.CM4,
    0x15: Model.CM4S,
    0x17: Model.FIVE,
    0x18: Model.CM5,
    0x19: Model.FIVE_HUNDRED,
    0x1A: Model.CM5_LITE,
}
LATER_DEVICE_TREES = {
    Model.CM5: "bcm2712-rpi-cm5-",
    Model.CM5_LITE: "bcm2712-rpi-cm5l-",
    Model.FIVE_HUNDRED: "bcm2712-rpi-500",
}
"""How the names of the device trees begin, for boards that came later than the images of their device type: those for
the Raspberry Pi 5 have them since March 2025 (balena-raspberrypi abc93f8f)."""

D0_TREES = ("bcm2712d0", "overlays/bcm2712d0")
"""How the device trees or overlays for the stepping D0 of the BCM2712 begin. Without them the kernel does not start on
it (meta-raspberrypi 810f1a23, meta-mender-community pull request 413); balenaOS has them since balena-raspberrypi
abc93f8f."""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The first balenaOS whose boot files start a board of this revision, or a later one."""

    model: Model
    revision: int
    version: Version
    slug: str = ""
    """Of this device type alone."""


FLOORS = (
    Floor(model=Model.THREE_B_PLUS, revision=4, version=(2, 95, 3)),
    Floor(model=Model.THREE_B_PLUS, revision=4, version=(2, 101, 7), slug="raspberrypi3-64"),
    Floor(model=Model.THREE_A_PLUS, revision=1, version=(4, 1, 3)),
    Floor(model=Model.FOUR_B, revision=5, version=(2, 88, 5)),
    Floor(model=Model.CM4, revision=1, version=(2, 91, 1)),
)
"""Boards with another power controller, which older firmware does not know (balenaOS documentation, troubleshooting
pages of these device types; for the 3A+ balena-raspberrypi pull request 1075 and its changelog). That the 3B+ "Rev9" is
1.4 is in OP-TEE/optee_os issue 6284."""

TYPE_BY_MODEL = {model: number for number, model in MODEL_BY_TYPE.items()}

_OLD_CODES = {
    **dict.fromkeys((0x2, 0x3, 0x4, 0x5, 0x6), (Model.B, 256)),
    **dict.fromkeys((0x7, 0x8, 0x9), (Model.A, 256)),
    **dict.fromkeys((0xD, 0xE, 0xF), (Model.B, 512)),
    **dict.fromkeys((0x10, 0x13), (Model.B_PLUS, 512)),
    **dict.fromkeys((0x11, 0x14), (Model.CM1, 512)),
    **dict.fromkeys((0x12, 0x15), (Model.A_PLUS, 256)),
}


@dataclass(frozen=True, kw_only=True)
class Board:
    """A Raspberry Pi: the model, its chip, and the memory that the code names (0015 may have 512 MiB in truth)."""

    model: Model
    chip: Chip
    memory_bytes: int
    revision: int = 0
    """The last number of the board's revision: 5 of 1.5."""

    @property
    def name(self) -> str:
        return f"Raspberry Pi {self.model}"

    @property
    def full_name(self) -> str:
        return f"{self.name} Rev 1.{self.revision}"

    @property
    def is_d0(self) -> bool:
        """Whether its chip is a BCM2712 D0: that of all boards with it but the first Raspberry Pi 5."""
        return self.chip is Chip.BCM2712 and (self.model is not Model.FIVE or self.revision > 0)

    def first_version(self, slug: str) -> Version | None:
        """The first balenaOS of this device type that starts the board; None where no other is known of."""
        fitting = [f for f in FLOORS if f.model is self.model and f.revision <= self.revision and f.slug in ("", slug)]
        return max((floor.version for floor in fitting), default=None)

    @property
    def type_number(self) -> int:
        """The number that the filter [board-type=...] of config.txt compares."""
        return TYPE_BY_MODEL[self.model]


def decode_revision(text: str) -> Board | None:
    """The board of a revision code in hexadecimal as /proc/cpuinfo shows it ("a02082", "000e", "1a01040").

    None for what is no code of a Raspberry Pi: other makers fill the same line with codes of their own.
    """
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
        return None
    code = int(text, 16) & _CODE_BITS
    return _decode_new(code) if code & _NEW_STYLE else _decode_old(code)


def _decode_new(code: int) -> Board | None:
    model = MODEL_BY_TYPE.get(code >> 4 & 0xFF)
    chip = code >> 12 & 0xF
    if model is None or chip >= len(CHIPS):
        return None
    memory_bytes = 256 * MIB << (code >> 20 & 0x7)
    return Board(model=model, chip=CHIPS[chip], memory_bytes=memory_bytes, revision=code & 0xF)


def _decode_old(code: int) -> Board | None:
    if code not in _OLD_CODES:
        return None
    model, memory_mib = _OLD_CODES[code]
    return Board(model=model, chip=Chip.BCM2835, memory_bytes=memory_mib * MIB)


_MODEL_TEXT = re.compile(
    r"Raspberry Pi (?P<name>.+?)(?: IO board.*)?(?: Rev ?[0-9]*\.?(?P<revision>[0-9]*)[0-9.]*)?", re.IGNORECASE
)
_MODEL_LIMIT = 100
"""No model's name is half as long."""
_DEVICE_TREE_NAMES = {"5 Model B": Model.FIVE, "500+": Model.FIVE_HUNDRED}
_CHIP_BY_COMPATIBLE = {f"brcm,{chip.lower()}": chip for chip in Chip}


def parse_model(text: str, compatible: tuple[str, ...]) -> Board | None:
    """The board that the device tree's model and compatible name; its memory stays unknown (0).

    The device tree writes "3 Model B Plus Rev 1.3" where the maker prints "3 Model B+". None for another board, or
    where the chip is not named.
    """
    match = _MODEL_TEXT.fullmatch(text.strip()[:_MODEL_LIMIT])
    chip = next((_CHIP_BY_COMPATIBLE[name] for name in compatible if name in _CHIP_BY_COMPATIBLE), None)
    if match is None or chip is None:
        return None
    name = match["name"].replace(" Plus", "+")
    model = _DEVICE_TREE_NAMES.get(name) or next((item for item in Model if item == name), None)
    return Board(model=model, chip=chip, memory_bytes=0, revision=int(match["revision"] or 0)) if model else None


def find_board(hardware: HardwareFacts) -> Board | None:
    """The Raspberry Pi that this hardware is: by its revision code, else by the device tree; None for another machine.

    The code alone proves nothing, since other makers use the same line for codes of their own.
    """
    if not hardware.model.startswith("Raspberry Pi"):
        return None
    return decode_revision(hardware.revision) or parse_model(hardware.model, hardware.compatible)


def other_name(hardware: HardwareFacts) -> Board | None:
    """The board that the device tree names, where that is another model than the revision code's; else None.

    The code is the board's own; the device tree is what was loaded, and another model's may have been.
    """
    by_code, by_tree = decode_revision(hardware.revision), parse_model(hardware.model, hardware.compatible)
    return by_tree if by_code and by_tree and by_code.model is not by_tree.model else None
