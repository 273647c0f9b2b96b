"""The Raspberry Pi's config.txt: what its lines mean on a board, and the change that starts our initramfs.

The rules are those of the maker's documentation (raspberrypi/documentation, computers/config_txt: what_is_config_txt,
boot, conditional). Where it says nothing, nothing is guessed: such a setting is unclear, and asking for it is an error.

Files are given by name, in lower case, relative to the boot partition; line ends and bytes that are not UTF-8 survive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from balena_migrate.pi_board import Board, Chip, Model

CONFIG = "config.txt"
TRYBOOT = "tryboot.txt"
"""Read in place of config.txt at the one start after `reboot "0 tryboot"`."""
LINE_LIMIT = 98
"""Characters of a line that the firmware reads; older firmware reads 78, and our own lines stay below that."""

INCLUDE_DEPTH = 8
RAMFS_KEYS = ("initramfs", "initramfs=", "ramfsfile", "ramfsaddr", "auto_initramfs")
"""Every way to name an initramfs, the wrong one too; ours has to be the only one."""

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


class UnclearError(ValueError):
    """The documentation does not say what the firmware makes of this."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A line that sets something: where it stands, and whether its filters let it through (None: unclear)."""

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
        """The value of a key. Raises UnclearError where it depends on a filter that cannot be judged."""
        if key in self.unclear:
            raise UnclearError(f"{self.unclear[key]}: whether {key} holds there depends on a filter we cannot judge")
        return self.values.get(key, default)


@dataclass
class _Filters:
    """The filters in force while a file is read. Filters of one type replace each other; types add up."""

    board: Board
    tryboot: bool
    state: dict[str, bool | None] = field(default_factory=dict)

    def apply(self, text: str) -> None:
        if text == "all":
            self.state.clear()
            return
        if "none" in self.state:
            self.state["none"] = None  # nothing says whether another filter ends [none]
        kind, passes = self._judge(text)
        self.state[kind] = passes

    def _judge(self, text: str) -> tuple[str, bool | None]:
        if text == "none":
            return "none", False
        if text == "tryboot":
            return "tryboot", self.tryboot
        if text in MODEL_FILTERS:
            return "model", self.board.model in MODEL_FILTERS[text]
        if match := re.fullmatch(r"board-type=(0x[0-9a-fA-F]+|[0-9]+)", text):
            return "model", self.board.type_number == int(match[1], 0)
        return ("model" if re.fullmatch(r"(pi|cm)[0-9]\w*", text) else text.partition("=")[0]), None

    @property
    def holds(self) -> bool | None:
        if False in self.state.values():
            return False
        return None if None in self.state.values() else True


def split_lines(text: str) -> list[str]:
    """The lines with their ends; only a line feed ends one, as the firmware has it."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def parse_line(line: str) -> tuple[str, str] | None:
    """Key and value of a line; "[" and the filter's name for a filter; None for a line that says nothing.

    `initramfs` and `include` take a blank, all others an equals sign without blanks around it: "kernel NAME" is no
    kernel line, and "initramfs=NAME" gets a key of its own. What stands behind the line limit does not exist.
    """
    text = line.rstrip("\r\n").lstrip(" \t")[:LINE_LIMIT]
    if text.startswith("["):
        return "[", text[1:-1] if text.endswith("]") and text.count("]") == 1 else text
    if match := re.fullmatch(r"(initramfs|include)[ \t]+(.*?)[ \t]*", text):
        return match[1], match[2]
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9_:]+", key):
        return None
    return (f"{key}=" if key in ("initramfs", "include") else key), value


def statements(
    files: Mapping[str, str], board: Board, *, tryboot: bool = False, start: str = CONFIG
) -> Iterator[Statement]:
    """All settings in the order in which the firmware meets them, those of included files in their includer's place."""
    yield from _walk(files, _Filters(board, tryboot), start, 0)


def _walk(files: Mapping[str, str], filters: _Filters, name: str, depth: int) -> Iterator[Statement]:
    for number, line in enumerate(split_lines(files.get(name.lower(), "")), start=1):
        parsed = parse_line(line)
        if parsed is None:
            continue
        key, value = parsed
        if key == "[":
            filters.apply(value)
            continue
        statement = Statement(file=name, line=number, key=key, value=value, holds=filters.holds)
        yield statement
        if key == "include" and statement.holds is not False and depth < INCLUDE_DEPTH:
            yield from _included(files, filters, statement, depth)


def _included(files: Mapping[str, str], filters: _Filters, include: Statement, depth: int) -> Iterator[Statement]:
    """The included file's settings; they are as unclear as the line that includes them."""
    for statement in _walk(files, filters, include.value, depth + 1):
        holds = None if include.holds is None and statement.holds else statement.holds
        yield Statement(**{**vars(statement), "holds": holds})


def evaluate(files: Mapping[str, str], board: Board, *, tryboot: bool = False, start: str = CONFIG) -> Settings:
    """The settings that hold on this board."""
    values: dict[str, str] = {}
    unclear: dict[str, str] = {}
    for statement in statements(files, board, tryboot=tryboot, start=start):
        if statement.holds is None:
            unclear[statement.key] = statement.place
        elif statement.holds:
            unclear.pop(statement.key, None)
            values[statement.key] = statement.value
    return Settings(values=values, unclear=unclear)


def kernel_names(settings: Settings, board: Board) -> tuple[str, ...]:
    """The names under which the firmware looks for a kernel, the first that exists wins (boot: kernel, arm_64bit).

    Raises UnclearError where the documentation leaves it open.
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


def own_path(files: Mapping[str, str], name: str) -> str:
    """How a file of ours in the boot partition's root is named: an absolute path passes by every os_prefix.

    The plain name, which all firmware knows, where no line can set a prefix (upstream_kernel sets one too).
    """
    lines = (parse_line(line) for text in files.values() for line in split_lines(text))
    prefixed = any(parsed and parsed[0] in ("os_prefix", "upstream_kernel") and parsed[1] for parsed in lines)
    return f"/{name}" if prefixed else name


def edit(files: Mapping[str, str], board: Board, *, initramfs: str, cmdline: str = "") -> dict[str, str]:
    """The changed files, config.txt among them, that start the same kernel with our initramfs (and command line).

    Every other line about an initramfs becomes a comment; ours stand at the end, below [all], where no section and no
    later line can take them back. Raises UnclearError where the result would not be certain.
    """
    changed = {name: _without_ramfs(files[name]) for name in _read_files(files, board)}
    changed[CONFIG] = _with_block(changed[CONFIG], files, initramfs, cmdline)
    after = evaluate({**files, **changed}, board)
    if after.get("initramfs") != f"{own_path(files, initramfs)} followkernel" or after.get("ramfsfile"):
        raise UnclearError(f"{CONFIG} does not keep our initramfs")
    return {name: text for name, text in changed.items() if text != files[name]}


def _read_files(files: Mapping[str, str], board: Board) -> set[str]:
    """config.txt and what it includes, whatever the filters: a filter that we misread must not cost the migration."""
    names = {CONFIG}
    todo = [CONFIG]
    while todo:
        for line in split_lines(files[todo.pop()]):
            parsed = parse_line(line)
            if parsed and parsed[0] == "include" and parsed[1].lower() in set(files) - names:
                names.add(parsed[1].lower())
                todo.append(parsed[1].lower())
    return names


def _without_ramfs(text: str) -> str:
    return "".join(f"#{line}" if _key(line) in RAMFS_KEYS else line for line in split_lines(text))


def _key(line: str) -> str:
    parsed = parse_line(line)
    return parsed[0] if parsed else ""


def _with_block(text: str, files: Mapping[str, str], initramfs: str, cmdline: str) -> str:
    end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    lines = [
        "# balena-migrate: stage 2, which takes these lines out again as its first act",
        "[all]",
        f"initramfs {own_path(files, initramfs)} followkernel",
        *([f"cmdline={own_path(files, cmdline)}"] if cmdline else []),
    ]
    gap = end if text and not text.endswith("\n") else ""
    return text + gap + "".join(line + end for line in lines)


def add_arguments(text: str, arguments: tuple[str, ...]) -> str:
    """A command line with these arguments, where it has not got them yet; the rest stays as it is.

    Of several lines the first one is the command line; the others have no effect, and are kept.
    """
    line, newline, rest = text.partition("\n")
    bare = line.rstrip("\r \t")
    missing = [argument for argument in arguments if argument not in bare.split()]
    return " ".join([*([bare] if bare else []), *missing]) + line[len(bare) :].lstrip(" \t") + newline + rest
