# SPDX-License-Identifier: Apache-2.0
"""What a config.txt means to the firmware, according to the vendor's documentation alone.

A second opinion: nothing here comes from the code that migrates. The source of each rule is raspberrypi/documentation
(computers/config_txt: what_is_config_txt, conditional, boot; computers/raspberry-pi: revision-codes). Whatever
that leaves open, or is true of some firmware versions only, is undefined: asking for it raises UndefinedError.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.core.errors import LabError

CERTAIN_BYTES = 78
"""Lines are limited to 98 characters, formerly 78 (what_is_config_txt); the rest of a line is ignored."""

SEEN_BY = {
    "pi1": {Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1},
    "pi2": {Model.TWO_B},
    "pi3": {Model.THREE_B, Model.THREE_B_PLUS, Model.THREE_A_PLUS, Model.CM3, Model.CM3_PLUS},
    "pi3+": {Model.THREE_A_PLUS, Model.THREE_B_PLUS},
    "pi4": {Model.FOUR_B, Model.FOUR_HUNDRED, Model.CM4, Model.CM4S},
    "pi5": {Model.FIVE, Model.FIVE_HUNDRED, Model.CM5, Model.CM5_LITE},
    "pi400": {Model.FOUR_HUNDRED},
    "pi500": {Model.FIVE_HUNDRED},
    "cm0": set[Model](),
    "cm1": {Model.CM1},
    "cm3": {Model.CM3},
    "cm3+": {Model.CM3_PLUS},
    "cm4": {Model.CM4},
    "cm4s": {Model.CM4S},
    "cm5": {Model.CM5, Model.CM5_LITE},
    "pi0": {Model.ZERO, Model.ZERO_W, Model.ZERO_2_W},
    "pi0w": {Model.ZERO_W, Model.ZERO_2_W},
    "pi02": {Model.ZERO_2_W},
}
"""The model filters, and the boards to which the lines below them apply (conditional: model filters)."""
NEWER_THAN_THE_BOARD = {("cm1", Model.CM1), ("cm3", Model.CM3), ("cm3+", Model.CM3_PLUS), ("pi3+", Model.CM3_PLUS)}
"""Documented long after these boards were released: the firmware on their card may not know them."""

TYPE_NUMBERS = {
    Model.A: 0x00,
    Model.B: 0x01,
    Model.A_PLUS: 0x02,
    Model.B_PLUS: 0x03,
    Model.TWO_B: 0x04,
    Model.CM1: 0x06,
    Model.THREE_B: 0x08,
    Model.ZERO: 0x09,
    Model.CM3: 0x0A,
    Model.ZERO_W: 0x0C,
    Model.THREE_B_PLUS: 0x0D,
    Model.THREE_A_PLUS: 0x0E,
    Model.CM3_PLUS: 0x10,
    Model.FOUR_B: 0x11,
    Model.ZERO_2_W: 0x12,
    Model.FOUR_HUNDRED: 0x13,
    Model.CM4: 0x14,
    Model.CM4S: 0x15,
    Model.FIVE: 0x17,
    Model.CM5: 0x18,
    Model.FIVE_HUNDRED: 0x19,
    Model.CM5_LITE: 0x1A,
}
"""What [board-type=...] compares (revision-codes: type)."""
OLD_CODES = {Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1}
"""Boards that may have an old-style revision code, which contains no type."""

OTHER_FILTERS = {
    "serial": r"0x[0-9a-fA-F]+",
    "gpio": r"gpio\d+=[01]",
    "EDID": r"EDID=.+",
    "HDMI": r"HDMI:[01]",
    "boot_partition": r"boot_partition=\d+",
    "expression": r"(boot_arg1|cust_otp\d+|bootvar0|boot_count|boot_partition|partition)[=&<>].+",
}
"""Documented filters whose conditions the stand-in cannot evaluate."""

KNOWN_KERNELS = {
    "kernel.img": False,
    "kernel7.img": False,
    "kernel7l.img": False,
    "kernel8.img": True,
    "kernel_2712.img": True,
}
"""The kernel names known to the firmware, and whether they are started in 64-bit mode (boot: kernel, arm_64bit)."""


DEFAULT_KERNELS = {
    Chip.BCM2835: "kernel.img",
    Chip.BCM2836: "kernel7.img",
    Chip.BCM2837: "kernel7.img",
    Chip.BCM2711: "kernel7l.img",
}


class UndefinedError(LabError):
    """The documentation does not say what the firmware does."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The last value of each setting, or why it is undefined."""

    values: Mapping[str, str]
    undefined: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """The value, None if it is not set; only os_prefix may be empty (boot: os_prefix). Raises UndefinedError."""
        if name in self.undefined:
            raise UndefinedError(f"whether {name} applies: {self.undefined[name]}")
        if self.values.get(name) == "" and name != "os_prefix":
            raise UndefinedError(f"the meaning of {name} without a value")
        return self.values.get(name)

    def number(self, name: str, default: int = 0) -> int:
        """The value of a setting that must be an integer. Raises UndefinedError."""
        text = self.text(name)
        if text is not None and not re.fullmatch(r"0|[1-9][0-9]*|0x[0-9a-fA-F]+", text):
            raise UndefinedError(f"the meaning of {name}={text}, which is not a number")
        return default if text is None else int(text, 0)

    def switch(self, name: str, *, default: bool = False) -> bool:
        """The value of a setting that is documented as 0 or 1. Raises UndefinedError."""
        number = self.number(name, int(default))
        if number not in (0, 1):
            raise UndefinedError(f"the meaning of {name}={number}, which is neither 0 nor 1")
        return number == 1


def evaluate(
    files: Mapping[str, str],
    board: Board,
    *,
    start: str,
    tryboot: bool = False,
    early: bool = False,
    partition: int | None = None,
) -> Reading:
    """What the file `start` and its includes set on this board; the keys of `files` are names in lower case.

    `early` is the view of bootcode.bin and the EEPROM, which know no include (what_is_config_txt) and, in old versions,
    no filters (raspberrypi/firmware#1076). `partition` is the number that [boot_partition=...] compares; that filter
    came in 2025, and None is for a firmware that may not know it. A missing file sets nothing, since it is optional.
    Raises UndefinedError if nothing at all is certain.
    """
    reader = _Reader(files, board, tryboot=tryboot, early=early, partition=partition)
    if start in files:
        reader.read(start)
    return Reading(values=reader.values, undefined=reader.undefined)


def included_names(text: str) -> list[str]:
    """The files that a text may include, in lower case, as FAT compares names."""
    names = re.findall(r"(?im)^[\ufeff\t ]*include[\t =]+(\S.*?)[\t ]*\r?$", text)
    return [name.lstrip("/").lower() for name in names]


def kernel_names(reading: Reading, board: Board) -> tuple[str, ...]:
    """The kernel's possible names; the first that exists is used (boot: kernel, arm_64bit). Raises UndefinedError."""
    if chosen := reading.text("kernel"):
        return (chosen,)
    if board.chip is Chip.BCM2712:
        return ("kernel_2712.img", "kernel8.img")
    return ("kernel8.img" if is_wide(reading, board) else DEFAULT_KERNELS[board.chip],)


def is_wide(reading: Reading, board: Board) -> bool:
    """Whether the kernel is started in 64-bit mode (boot: arm_64bit). Raises UndefinedError.

    If arm_64bit is not set, the name of a known kernel decides. The documentation does not say which of the two wins,
    or whether a name in a folder or in other case is known. The Raspberry Pi 5 has no such setting.
    """
    if board.chip is Chip.BCM2712:
        return True
    if reading.number("arm_control"):
        raise UndefinedError("which of arm_64bit and the deprecated arm_control wins")
    wide, kernel = reading.switch("arm_64bit", default=board.chip is Chip.BCM2711), reading.text("kernel") or ""
    by_name = KNOWN_KERNELS.get(kernel.rpartition("/")[2].lower(), wide)
    if by_name != wide and (kernel not in KNOWN_KERNELS or reading.text("arm_64bit")):
        raise UndefinedError(
            f"whether {kernel} is started in 64-bit mode: its name contradicts arm_64bit or the default"
        )
    if by_name and board.chip in (Chip.BCM2835, Chip.BCM2836):
        raise UndefinedError(f"the effect of a 64-bit setting on the {board.chip}, which has no 64-bit mode")
    return by_name


class _Reader:
    def __init__(
        self, files: Mapping[str, str], board: Board, *, tryboot: bool, early: bool, partition: int | None
    ) -> None:
        self.values: dict[str, str] = {}
        self.undefined: dict[str, str] = {}
        self._files, self._model, self._tryboot, self._early = files, board.model, tryboot, early
        self._partition = partition
        self._open: list[str] = []
        self._maybe = False
        # The filters in force, by type; first if [none] lasts until [all], then if it lasts until the next filter.
        self._in_force: list[dict[str, bool | None]] = [{}, {}]

    def read(self, name: str) -> None:
        if name in self._open:
            raise UndefinedError(f"the effect of an include of {name} in itself")
        text = self._files[name].replace("\r\n", "\n")
        if re.search(r"[\r\0]", text):
            raise UndefinedError(f"the effect of control characters in {name}")
        self._open.append(name)
        for line in text.split("\n"):
            self._read_line(line)
        self._open.pop()

    def _read_line(self, line: str) -> None:
        long = len(line.encode("utf-8", "surrogateescape")) > CERTAIN_BYTES
        entry = line.lstrip(" ")
        if not entry or entry.startswith("#"):
            return
        if re.match(r"[\ufeff\t ]*\[", entry):
            self._filter("" if long else entry)
        elif long:
            self._doubt(entry, "its line is too long for some versions of the firmware")
        elif match := re.fullmatch(r"include (\S+)", entry):
            self._include(match[1])
        elif match := re.fullmatch(r"initramfs(?: (\S+(?: \S+)*)?)?", entry):
            self._set("initramfs", match[1] or "")
        elif (match := re.fullmatch(r"([A-Za-z0-9_]+)=(\S*)", entry)) and match[1] not in ("include", "initramfs"):
            self._set(match[1], match[2])
            if match[1] != match[1].lower():
                self._doubt(match[1], "it is written in capital letters")
        else:
            value = entry.partition("=")[2] or entry
            self._doubt(entry, f"the form of its line is not documented, and there may be no {value}")

    def _set(self, name: str, value: str) -> None:
        applies = self._applies()
        if applies and not self._maybe:
            self.values[name] = value
            self.undefined.pop(name, None)
        elif applies is not False:
            self.undefined[name] = "it is below a filter that cannot be evaluated"

    def _doubt(self, entry: str, reason: str) -> None:
        """Mark the setting that a malformed line seems to set as undefined."""
        match = re.match(r"[\ufeff\t ]*([A-Za-z0-9_]+)(?=\s|=|$)", entry)
        if match and match[1].lower() == "include":
            self._include(entry[match.end() :].strip(" \t="), certain=False)
        elif match and self._applies() is not False:
            self.undefined[match[1].lower()] = reason

    def _include(self, path: str, *, certain: bool = True) -> None:
        """Read the file in place; filters apply to settings, and perhaps not to includes."""
        name = path.lstrip("/").lower()
        if self._early:
            return
        if name not in self._files:
            raise UndefinedError(f"the effect of an include of {name or 'nothing'}, which does not exist")
        before, maybe = [dict(filters) for filters in self._in_force], self._maybe
        uncertain = not certain or path.startswith("/") or self._applies() is not True
        self._maybe = maybe or uncertain
        self.read(name)
        self._maybe = maybe
        if uncertain:
            self._in_force = [_either(old, new) for old, new in zip(before, self._in_force, strict=True)]

    def _filter(self, line: str) -> None:
        if self._early:
            return
        match = re.fullmatch(r"\[([^\[\]]*)\]", line)
        kind, holds = self._judge(match[1]) if match else ("", None)
        self._in_force[1].pop("none", None)
        for filters in self._in_force:
            if kind == "all":
                filters.clear()
                continue
            if not kind:
                filters.update(dict.fromkeys(filters))
            if kind == "expression" and "boot_partition" in filters:
                filters["boot_partition"] = None  # are they of one type? then this one takes the other's place
            filters[kind] = holds

    def _judge(self, name: str) -> tuple[str, bool | None]:
        """The type of a filter, "" for an unknown one, and whether its condition holds, None if that is unknown."""
        if name in SEEN_BY:
            return "model", None if (name, self._model) in NEWER_THAN_THE_BOARD else self._model in SEEN_BY[name]
        if match := re.fullmatch(r"board-type=0x([0-9a-fA-F]+)", name):
            same = int(match[1], 16) == TYPE_NUMBERS[self._model]
            return "model", None if same and self._model in OLD_CODES else same
        if name in ("all", "none", "tryboot"):
            return name, self._tryboot and name == "tryboot"
        if self._partition is not None and (match := re.fullmatch(r"boot_partition=(\d+)", name)):
            return "boot_partition", self._partition == int(match[1])
        return next((kind for kind, form in OTHER_FILTERS.items() if re.fullmatch(form, name)), ""), None

    def _applies(self) -> bool | None:
        """Whether a setting here applies; None if that depends on [none] or on a filter that cannot be evaluated."""
        verdicts = {_all_hold(filters.values()) for filters in self._in_force}
        return verdicts.pop() if len(verdicts) == 1 else None


def _either(first: dict[str, bool | None], second: dict[str, bool | None]) -> dict[str, bool | None]:
    """The filters in force if either set may be."""
    return {kind: first.get(kind) if first.get(kind) == second.get(kind) else None for kind in {**second, **first}}


def _all_hold(filters: Collection[bool | None]) -> bool | None:
    if False in filters:
        return False
    return None if None in filters else True
