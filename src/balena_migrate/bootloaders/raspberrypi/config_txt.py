# SPDX-License-Identifier: Apache-2.0
"""The Raspberry Pi's config.txt: what its lines mean on a board, and the change that starts our initramfs.

The rules are those of the maker's documentation (raspberrypi/documentation, computers/config_txt: what_is_config_txt,
boot, conditional). Where it says nothing, nothing is guessed: such a setting is unclear, and asking for it is an error.

Files are given by name, in lower case, relative to the boot partition; line ends and bytes that are not UTF-8 survive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model

CONFIG = "config.txt"
TRYBOOT = "tryboot.txt"
"""Read in place of config.txt at the one start after `reboot "0 tryboot"`."""
CMDLINE = "cmdline.txt"
STATE = "state"
"""In each folder of a system that tries a new kernel first: whether it is good (Ubuntu, "A/B boot on Ubuntu for
Raspberry Pi")."""
LINE_LIMIT, OLD_LINE_LIMIT = 98, 78
"""Characters of a line that the firmware reads, and that older firmware reads; our own lines stay below both."""

BYTE_ORDER_MARK = "\ufeff"
BROKEN = re.compile(r"\0|\r(?!\r*\n)")
"""Nothing says that the firmware reads on behind it, or takes it for the end of a line."""
INCLUDE_DEPTH = 8
INCLUDES_LIMIT = 40
"""Of all that are followed. Two files that include each other twice would be read 500 times by the depth alone."""
UPSTREAM_PREFIX = "upstream/"
DEFAULT_KERNELS = ("kernel.img", "kernel7.img", "kernel7l.img", "kernel8.img", "kernel_2712.img")
"""What some board looks for where config.txt names no kernel (boot: kernel)."""
WITH_BLANK = ("initramfs", "include")
MAY_BE_EMPTY = ("os_prefix", "dtoverlay")
"""Settings whose empty value is documented: no prefix, and the end of an overlay's list."""
RAMFS_KEYS = ("initramfs", "ramfsfile", "ramfsaddr", "auto_initramfs")
"""Every way to name an initramfs; ours must be the only one."""

_PI0 = (Model.ZERO, Model.ZERO_W, Model.ZERO_2_W)
_PI4 = (Model.FOUR_B, Model.FOUR_HUNDRED, Model.CM4, Model.CM4S)
_CM5 = (Model.CM5, Model.CM5_LITE)
MODEL_FILTERS: Mapping[str, tuple[Model, ...]] = {
    "pi1": (Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1),
    "pi2": (Model.TWO_B,),
    "pi3": (Model.THREE_B, Model.THREE_B_PLUS, Model.THREE_A_PLUS, Model.CM3, Model.CM3_PLUS),
    "pi3+": (Model.THREE_A_PLUS, Model.THREE_B_PLUS),
    "pi4": _PI4,
    "pi400": (Model.FOUR_HUNDRED,),
    "cm4": (Model.CM4,),
    "cm4s": (Model.CM4S,),
    "pi0": _PI0,
    "pi0w": (Model.ZERO_W, Model.ZERO_2_W),
    "pi02": (Model.ZERO_2_W,),
    "pi5": (Model.FIVE, Model.FIVE_HUNDRED, *_CM5),
    "pi500": (Model.FIVE_HUNDRED,),
    "cm5": _CM5,
}
UNSETTLED = frozenset({("pi3+", Model.CM3_PLUS)})
"""A filter and a board on which editions of the documentation differ (conditional: model filters)."""
OLD_CODES = frozenset({Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1})
"""Boards that may have a revision code of the old style, which holds no type (revision-codes)."""
OTHER_FILTERS = re.compile(r"gpio[0-9]+=[01]|0x[0-9a-fA-F]+|EDID=.+|HDMI:[01]")
"""Filters of types of their own, on what is not known before the start (conditional)."""
EXPRESSIONS = re.compile(r"(boot_arg1|cust_otp[0-9]+|bootvar0|boot_count|boot_partition|partition)[=&<>].+")
"""Filters on what is not known before the start, of 2025 and later; perhaps of one type (conditional)."""
BOOT_PARTITION = re.compile(r"boot_partition=([0-9]+)")
INCLUDED = "balena-migrate-included-{}.txt"
"""Copies of included files in which the old initramfs is a comment."""


class UnclearError(ValueError):
    """The documentation does not say what the firmware makes of this."""


class Line(NamedTuple):
    """What a line says, `key` in lower case and "[" for a filter.

    Not `certain` where the documentation does not say that the firmware reads it so.
    """

    key: str
    value: str
    certain: bool = True


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A line that sets something: its position, and whether its filters let it apply (None: unclear)."""

    file: str
    line: int
    key: str
    value: str
    holds: bool | None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds on a board: of several lines with one key the last one."""

    values: Mapping[str, str]
    unclear: Mapping[str, str]
    """Key -> the place of the line that may or may not hold."""

    def get(self, key: str, default: str = "") -> str:
        """The value of a key. Raises UnclearError if it depends on a filter that cannot be judged."""
        if key in self.unclear:
            raise UnclearError(f"{self.unclear[key]}: whether {key} holds there depends on a filter we cannot judge")
        return self.values.get(key, default)


@dataclass
class _Filters:
    """The filters in force while a file is read. Filters of one type replace each other; types add up."""

    board: Board
    tryboot: bool
    partition: int | None
    state: dict[str, bool | None] = field(default_factory=dict)
    includes: int = 0
    """How many were met; once they are too many, nothing is certain any more."""

    def apply(self, text: str, *, certain: bool) -> None:
        if text == "all" and certain:
            self.state.clear()
            return
        if "none" in self.state:
            self.state["none"] = None  # nothing says whether another filter ends [none]
        if "boot_partition" in self.state and EXPRESSIONS.fullmatch(text) and not BOOT_PARTITION.fullmatch(text):
            self.state["boot_partition"] = None  # nothing says whether it is of the type of other expressions
        kind, passes = self._judge(text)
        if not kind or not certain:
            self.doubt()
        else:
            self.state[kind] = passes

    def doubt(self) -> None:
        """Whatever is in force may have been replaced, or not, until the next [all]."""
        self.state = dict.fromkeys([*self.state, ""])

    def _judge(self, text: str) -> tuple[str, bool | None]:
        """The filter's type, "" if that is not known, and whether it lets settings through."""
        if text == "none":
            return "none", False
        if text == "tryboot":
            return "tryboot", self.tryboot
        if text in MODEL_FILTERS:
            known = (text, self.board.model) not in UNSETTLED
            return "model", self.board.model in MODEL_FILTERS[text] if known else None
        if match := re.fullmatch(r"board-type=0x([0-9a-fA-F]+)", text):
            same = self.board.type_number == int(match[1], 16)
            return "model", None if same and self.board.model in OLD_CODES else same
        if match := BOOT_PARTITION.fullmatch(text):
            return "boot_partition", None if self.partition is None else self.partition == int(match[1])
        return text if OTHER_FILTERS.fullmatch(text) or EXPRESSIONS.fullmatch(text) else "", None

    @property
    def holds(self) -> bool | None:
        if self.includes > INCLUDES_LIMIT:
            return None
        if False in self.state.values():
            return False
        return None if None in self.state.values() else True


def split_lines(text: str) -> list[str]:
    """The lines with their ends; only a line feed ends one, as the firmware has it."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def parse_line(line: str) -> Line | None:
    """What a line says; None for a comment and for what has no key and value. Behind the line limit there is nothing.

    `initramfs` and `include` take a space, all others an equals sign, without spaces around it or in the value. What
    comes close to that (`kernel NAME`, `kernel = NAME`, `kernel=NAME # mine`, `initramfs=NAME`, `Kernel=NAME`, a tab or
    a byte order mark before it, no value) is not certain: nothing says that the firmware takes it, nor that it does
    not. Nor is a line that older firmware cuts.
    """
    whole = line.rstrip("\r\n")
    bare = whole.lstrip(BYTE_ORDER_MARK + " \t")
    certain = not line.startswith(BYTE_ORDER_MARK) and "\t" not in line
    certain = certain and len(whole.encode("utf-8", "surrogateescape")) <= OLD_LINE_LIMIT
    text = bare[:LINE_LIMIT]
    if text.startswith("["):
        return Line("[", text[1:-1] if text.endswith("]") and text.count("]") == 1 else text, certain)
    match = re.fullmatch(r"([A-Za-z0-9_:]+)([ \t]*=[ \t]*|[ \t]+|$)(.*)", text)
    if match is None:
        return None
    key, value = match[1].lower(), match[3]
    form = key == match[1] and match[2] == (" " if key in WITH_BLANK else "=")
    words = value.split(" ") if key == "initramfs" else [value]
    plain = (all(words) or key in MAY_BE_EMPTY) and not re.search(r"\s", "".join(words))
    if key == "include" and value.startswith("/"):
        plain = False  # that a path may be absolute is said of the operating system's files only (boot: os_prefix)
    return Line(key, value.strip(" \t") if key in WITH_BLANK else value, certain and form and plain)


def file_name(value: str) -> str:
    """The name of a file that a line names, as the files are named here."""
    return value.lstrip("/").lower()


def statements(
    files: Mapping[str, str], board: Board, *, tryboot: bool = False, partition: int | None = None
) -> Iterator[Statement]:
    """All settings in the order in which the firmware meets them, those of included files in their includer's place.

    `partition` is the number that [boot_partition=...] compares, None if it is unknown, or whether the firmware knows
    that filter.
    """
    yield from _walk(files, _Filters(board, tryboot, partition), CONFIG, 0)


def _walk(files: Mapping[str, str], filters: _Filters, name: str, depth: int) -> Iterator[Statement]:
    for number, line in enumerate(split_lines(files.get(file_name(name), "")), start=1):
        parsed = parse_line(line)
        if parsed is None:
            continue
        if parsed.key == "[":
            filters.apply(parsed.value, certain=parsed.certain)
            continue
        holds = filters.holds if parsed.certain or filters.holds is False else None
        statement = Statement(file=name, line=number, key=parsed.key, value=parsed.value, holds=holds)
        yield statement
        if parsed.key == "include" and depth < INCLUDE_DEPTH:
            filters.includes += 1
            if filters.includes <= INCLUDES_LIMIT:
                yield from _included(files, filters, statement, depth)


def _included(files: Mapping[str, str], filters: _Filters, include: Statement, depth: int) -> Iterator[Statement]:
    """The included file's settings, as unclear as the line that includes them.

    A filter is about settings, and nothing says that it keeps an include out: the file's own filters may come into
    force although those before it fail.
    """
    before = dict(filters.state)
    for statement in _walk(files, filters, include.value, depth + 1):
        holds = None if not include.holds and statement.holds else statement.holds
        yield replace(statement, holds=holds)
    if not include.holds and filters.state != before:
        filters.state.update(before)
        filters.doubt()


def evaluate(
    files: Mapping[str, str], board: Board, *, tryboot: bool = False, partition: int | None = None
) -> Settings:
    """The settings that hold on this board; see statements()."""
    values: dict[str, str] = {}
    unclear: dict[str, str] = {}
    for statement in statements(files, board, tryboot=tryboot, partition=partition):
        if statement.holds is None:
            unclear[statement.key] = statement.place
        elif statement.holds:
            unclear.pop(statement.key, None)
            values[statement.key] = statement.value
    return Settings(values=values, unclear=unclear)


def kernel_names(settings: Settings, board: Board) -> tuple[str, ...]:
    """The names under which the firmware looks for a kernel, the first that exists wins (boot: kernel, arm_64bit).

    Raises UnclearError if the documentation leaves it open.
    """
    if kernel := settings.get("kernel"):
        return (kernel,)
    if board.chip is Chip.BCM2712:
        return ("kernel_2712.img", "kernel8.img")
    wide = settings.get("arm_64bit", "1" if board.chip is Chip.BCM2711 else "0")
    if wide not in ("0", "1") or settings.get("arm_control", "0") not in ("0", "0x0"):
        raise UnclearError("arm_64bit or arm_control has a value that is not documented")
    if board.chip is Chip.BCM2711:
        return ("kernel8.img",) if wide == "1" else ("kernel7l.img",)
    if wide == "1" and board.chip is not Chip.BCM2837:
        raise UnclearError(f"arm_64bit=1 on {board.name}, whose {board.chip} has no 64-bit mode")
    if wide == "1":
        return ("kernel8.img",)
    return ("kernel.img",) if board.chip is Chip.BCM2835 else ("kernel7.img",)


def _lines(files: Mapping[str, str]) -> Iterator[Line]:
    return (parsed for text in files.values() for line in split_lines(text) if (parsed := parse_line(line)))


def own_path(files: Mapping[str, str], name: str) -> str:
    """How our command line, in the boot partition's root, is named: an absolute path passes by every os_prefix.

    The plain name, which all firmware knows, where no line can set a prefix (upstream_kernel sets one too): a kernel
    that got no command line would not find the old system either.
    """
    prefixed = any(line.key in ("os_prefix", "upstream_kernel") and line.value for line in _lines(files))
    return f"/{name}" if prefixed else name


def named_files(files: Mapping[str, str]) -> set[str]:
    """The text files that these files name, whatever their filters: includes, command lines with each prefix, and the
    state of what lies in each folder."""
    lines = list(_lines(files))
    included = {file_name(line.value) for line in lines if line.key == "include" and not line.value.endswith("/")}
    folders = {line.value for line in lines if line.key == "os_prefix" and line.value.endswith("/")}
    return (included | command_line_names(files) | {file_name(folder + STATE) for folder in folders}) - {""}


def command_line_names(files: Mapping[str, str]) -> set[str]:
    """The names of the files from which the kernel's command line may come, whatever the filters."""
    lines = list(_lines(files))
    prefixes = {"", UPSTREAM_PREFIX, *(line.value for line in lines if line.key == "os_prefix")}
    names = {CMDLINE, *(line.value for line in lines if line.key == "cmdline")}
    return {file_name(prefix + name) for prefix in prefixes for name in names if not name.endswith("/")} - {""}


def command_line_file(files: Mapping[str, str], settings: Settings) -> str:
    """The name of the file with the kernel's command line, "" if there is none.

    Raises UnclearError if that is not certain: a prefix is ignored where it leads to no kernel (boot: os_prefix),
    which is not seen here, so both files have to say the same.
    """
    name, prefix = settings.get("cmdline", CMDLINE), settings.get("os_prefix")
    if not prefix and settings.get("upstream_kernel", "0") != "0":
        prefix = UPSTREAM_PREFIX
    names = (name,) if name.startswith("/") else (prefix + name, name)
    found = [file_name(item) for item in names if file_name(item) in files]
    if len({files[item] for item in found}) > 1:
        raise UnclearError(f"{found[0]} and {found[1]} differ, and either may be the command line")
    return found[0] if found else ""


def edit(files: Mapping[str, str], board: Board, *, initramfs: str, cmdline: str = "") -> dict[str, str]:
    """The changed config.txt, and copies of files, that start the same kernel with our initramfs (and command line).

    Every other line about an initramfs becomes a comment; ours are at the end, below [all], where no section and no
    later line can take them back. An included file stays as it is: a changed copy is included in its place, so that
    config.txt alone decides. Raises UnclearError if the result would not be certain.
    """
    read = _read_files(files)
    if broken := sorted(name for name in read if BROKEN.search(files[name])):
        reason = "and nothing says that the firmware reads on behind it, or takes it for the end of a line"
        raise UnclearError(f"{broken[0]} holds a NUL or a carriage return alone, {reason}")
    copies = _copies(files, read)
    changed = {copies.get(name, name): _rewritten(files[name], copies) for name in (CONFIG, *copies)}
    changed[CONFIG] = _with_block(changed[CONFIG], files, initramfs, cmdline)
    after = evaluate({**files, **changed}, board)
    if after.get("initramfs") != f"/{initramfs} followkernel" or after.get("ramfsfile"):
        raise UnclearError(f"{CONFIG} does not keep our initramfs")
    return changed


def _copies(files: Mapping[str, str], read: set[str]) -> dict[str, str]:
    """The included files that name an initramfs, or include one that does -> what their copies are called."""

    def touches(name: str, touched: set[str]) -> bool:
        lines = _lines({name: files[name]})
        return any(
            line.key in RAMFS_KEYS or (line.key == "include" and file_name(line.value) in touched) for line in lines
        )

    touched: set[str] = set()
    while more := {name for name in read - touched - {CONFIG} if touches(name, touched)}:
        touched |= more
    return {name: INCLUDED.format(number) for number, name in enumerate(sorted(touched), start=1)}


def includes_config(files: Mapping[str, str]) -> bool:
    """Whether a file that config.txt includes may include config.txt again: our copy would not be the only one read."""
    return any(
        line.key == "include" and file_name(line.value) == CONFIG
        for name in _read_files(files)
        for line in _lines({name: files[name]})
    )


def _read_files(files: Mapping[str, str]) -> set[str]:
    """config.txt and what it includes, whatever the filters: a filter that we misread must not cost the migration."""
    names = {CONFIG}
    todo = [CONFIG]
    while todo:
        for line in _lines({CONFIG: files[todo.pop()]}):
            if line.key == "include" and file_name(line.value) in set(files) - names:
                names.add(file_name(line.value))
                todo.append(file_name(line.value))
    return names


def _rewritten(text: str, copies: Mapping[str, str]) -> str:
    """The text without an initramfs, and with the copies of included files in their place."""
    return "".join(_rewritten_line(line, copies) for line in split_lines(text))


def _rewritten_line(line: str, copies: Mapping[str, str]) -> str:
    parsed = parse_line(line)
    if parsed is None or (parsed.key != "include" and parsed.key not in RAMFS_KEYS):
        return line
    if parsed.key in RAMFS_KEYS:
        return f"#{line}"
    if file_name(parsed.value) not in copies:
        return line
    before, _, after = line.rpartition(parsed.value)
    slash = "/" if parsed.value.startswith("/") else ""
    copied = before + slash + copies[file_name(parsed.value)] + after
    if (now := parse_line(copied)) is None or now.certain != parsed.certain:
        raise UnclearError(f"whether the firmware includes {parsed.value} depends on the length of its line")
    return copied


def _with_block(text: str, files: Mapping[str, str], initramfs: str, cmdline: str) -> str:
    end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    lines = [
        "# balena-migrate: stage 2, which takes these lines out again as its first act",
        "[all]",
        # Absolute, since auto_initramfs and os_prefix made firmware of 2025 and 2026 look elsewhere (rpi-eeprom#785).
        f"initramfs /{initramfs} followkernel",
        *([f"cmdline={own_path(files, cmdline)}"] if cmdline else []),
    ]
    gap = end if text and not text.endswith("\n") else ""
    return text + gap + "".join(line + end for line in lines)
