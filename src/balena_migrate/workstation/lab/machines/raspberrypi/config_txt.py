# SPDX-License-Identifier: Apache-2.0
"""What a config.txt says to the firmware, by the maker's documentation alone.

A second opinion: nothing here comes from the code that migrates. The source of each rule is raspberrypi/documentation
(computers/config_txt: what_is_config_txt, conditional, boot; computers/raspberry-pi: revision-codes). What it leaves
open, or what holds for some ages of the firmware only, is undefined, and whoever asks for it gets an UndefinedError.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.core.errors import LabError

CERTAIN_BYTES = 78
"""A line counts up to 98 characters, and once did up to 78 (what_is_config_txt); what is past that is ignored."""

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
"""The model filters and the boards that see what stands under them (conditional: model filters)."""
NEWER_THAN_THE_BOARD = {("cm1", Model.CM1), ("cm3", Model.CM3), ("cm3+", Model.CM3_PLUS), ("pi3+", Model.CM3_PLUS)}
"""Named in the documentation long after these boards came out: the firmware on their card may not know them."""

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
"""Boards that may have a code of the old style, which holds no type."""

OTHER_FILTERS = {
    "serial": r"0x[0-9a-fA-F]+",
    "gpio": r"gpio\d+=[01]",
    "EDID": r"EDID=.+",
    "HDMI": r"HDMI:[01]",
    "expression": r"(boot_arg1|cust_otp\d+|bootvar0|boot_count|boot_partition|partition)[=&<>].+",
}
"""Documented filters on what a stand-in cannot know."""

KNOWN_KERNELS = {
    "kernel.img": False,
    "kernel7.img": False,
    "kernel7l.img": False,
    "kernel8.img": True,
    "kernel_2712.img": True,
}
"""The kernels with a name of their own, and whether they are started with 64 bits (boot: kernel, arm_64bit)."""


DEFAULT_KERNELS = {
    Chip.BCM2835: "kernel.img",
    Chip.BCM2836: "kernel7.img",
    Chip.BCM2837: "kernel7.img",
    Chip.BCM2711: "kernel7l.img",
}


class UndefinedError(LabError):
    """The documentation does not say what the firmware does here."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The last value of each setting, or why it is undefined."""

    values: Mapping[str, str]
    undefined: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """The value, None where it is not set; only a prefix may be empty (boot: os_prefix). Raises UndefinedError."""
        if name in self.undefined:
            raise UndefinedError(f"whether {name} holds: {self.undefined[name]}")
        if self.values.get(name) == "" and name != "os_prefix":
            raise UndefinedError(f"what {name} without a value means")
        return self.values.get(name)

    def number(self, name: str, default: int = 0) -> int:
        """The value of a setting that has to be a whole number. Raises UndefinedError."""
        text = self.text(name)
        if text is not None and not re.fullmatch(r"0|[1-9][0-9]*|0x[0-9a-fA-F]+", text):
            raise UndefinedError(f"what {name}={text} means, which is not a number")
        return default if text is None else int(text, 0)

    def switch(self, name: str, *, default: bool = False) -> bool:
        """The value of a setting that is documented for 0 and 1 only. Raises UndefinedError."""
        number = self.number(name, int(default))
        if number not in (0, 1):
            raise UndefinedError(f"what {name}={number} means, which is neither 0 nor 1")
        return number == 1


def evaluate(
    files: Mapping[str, str], board: Board, *, start: str, tryboot: bool = False, early: bool = False
) -> Reading:
    """What the file `start` and those that it includes set on this board; `files` by their names in lower case.

    `early` is the view of bootcode.bin and the EEPROM, which know no include (what_is_config_txt) and, where they are
    old, no filters (raspberrypi/firmware#1076). A start without the file sets nothing, since it is optional. Raises
    UndefinedError where nothing at all is certain.
    """
    reader = _Reader(files, board, tryboot=tryboot, early=early)
    if start in files:
        reader.read(start)
    return Reading(values=reader.values, undefined=reader.undefined)


def included_names(text: str) -> list[str]:
    """The files that a text may include, in lower case, as FAT compares names."""
    names = re.findall(r"(?im)^[\ufeff\t ]*include[\t =]+(\S.*?)[\t ]*\r?$", text)
    return [name.lstrip("/").lower() for name in names]


def kernel_names(reading: Reading, board: Board) -> tuple[str, ...]:
    """The kernel's file name; the first that exists is taken (boot: kernel, arm_64bit). Raises UndefinedError."""
    if chosen := reading.text("kernel"):
        return (chosen,)
    if board.chip is Chip.BCM2712:
        return ("kernel_2712.img", "kernel8.img")
    return ("kernel8.img" if is_wide(reading, board) else DEFAULT_KERNELS[board.chip],)


def is_wide(reading: Reading, board: Board) -> bool:
    """Whether the kernel is started with 64 bits (boot: arm_64bit). Raises UndefinedError.

    A known kernel's name decides where arm_64bit is not set; nothing says which counts where the two differ, or
    whether a name in a folder or in other letters is known. On the 5 there is no such setting.
    """
    if board.chip is Chip.BCM2712:
        return True
    if reading.number("arm_control"):
        raise UndefinedError("which of arm_64bit or arm_control counts: the second is deprecated")
    wide, kernel = reading.switch("arm_64bit", default=board.chip is Chip.BCM2711), reading.text("kernel") or ""
    by_name = KNOWN_KERNELS.get(kernel.rpartition("/")[2].lower(), wide)
    if by_name != wide and (kernel not in KNOWN_KERNELS or reading.text("arm_64bit")):
        raise UndefinedError(f"how wide {kernel} is started, against arm_64bit or its default")
    if by_name and board.chip in (Chip.BCM2835, Chip.BCM2836):
        raise UndefinedError(f"what 64 bits mean on the {board.chip}, which has no 64-bit mode")
    return by_name


class _Reader:
    def __init__(self, files: Mapping[str, str], board: Board, *, tryboot: bool, early: bool) -> None:
        self.values: dict[str, str] = {}
        self.undefined: dict[str, str] = {}
        self._files, self._model, self._tryboot, self._early = files, board.model, tryboot, early
        self._open: list[str] = []
        self._maybe = False
        # The filters in force, by type; first if [none] lasts until [all], then if it lasts until the next filter.
        self._in_force: list[dict[str, bool | None]] = [{}, {}]

    def read(self, name: str) -> None:
        if name in self._open:
            raise UndefinedError(f"what an include of {name} in itself does")
        text = self._files[name].replace("\r\n", "\n")
        if re.search(r"[\r\0]", text):
            raise UndefinedError(f"what the control characters in {name} do")
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
            self._doubt(entry, "its line is too long for some firmware")
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
            self.undefined[name] = "it stands under a filter we cannot judge"

    def _doubt(self, entry: str, reason: str) -> None:
        """The setting that a line comes close to is undefined; a line that is about another one changes nothing."""
        match = re.match(r"[\ufeff\t ]*([A-Za-z0-9_]+)(?=\s|=|$)", entry)
        if match and match[1].lower() == "include":
            self._include(entry[match.end() :].strip(" \t="), certain=False)
        elif match and self._applies() is not False:
            self.undefined[match[1].lower()] = reason

    def _include(self, path: str, *, certain: bool = True) -> None:
        """Puts the file in this place; a filter is meant for settings, and maybe not for this."""
        name = path.lstrip("/").lower()
        if self._early:
            return
        if name not in self._files:
            raise UndefinedError(f"what an include of {name or 'nothing'} does, which is not there")
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
            filters[kind] = holds

    def _judge(self, name: str) -> tuple[str, bool | None]:
        """The type of a filter, "" for an unknown one, and whether it lets settings pass, None where nobody knows."""
        if name in SEEN_BY:
            return "model", None if (name, self._model) in NEWER_THAN_THE_BOARD else self._model in SEEN_BY[name]
        if match := re.fullmatch(r"board-type=0x([0-9a-fA-F]+)", name):
            same = int(match[1], 16) == TYPE_NUMBERS[self._model]
            return "model", None if same and self._model in OLD_CODES else same
        if name in ("all", "none", "tryboot"):
            return name, self._tryboot and name == "tryboot"
        return next((kind for kind, form in OTHER_FILTERS.items() if re.fullmatch(form, name)), ""), None

    def _applies(self) -> bool | None:
        """Whether a setting in this place counts, None where that depends on [none] or a filter cannot be judged."""
        verdicts = {_all_hold(filters.values()) for filters in self._in_force}
        return verdicts.pop() if len(verdicts) == 1 else None


def _either(first: dict[str, bool | None], second: dict[str, bool | None]) -> dict[str, bool | None]:
    """The filters in force if it is either these or those."""
    return {kind: first.get(kind) if first.get(kind) == second.get(kind) else None for kind in {**second, **first}}


def _all_hold(filters: Collection[bool | None]) -> bool | None:
    if False in filters:
        return False
    return None if None in filters else True
