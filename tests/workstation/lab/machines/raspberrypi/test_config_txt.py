# SPDX-License-Identifier: Apache-2.0
"""What the stand-in reads out of a config.txt, sentence by sentence of the maker's documentation.

The sources are raspberrypi/documentation, computers/config_txt (what_is_config_txt, conditional, boot) and
computers/raspberry-pi (revision-codes, bootflow-eeprom), as of 2025 and 2026.
"""

from __future__ import annotations

import pytest

from balena_migrate.bootloaders.raspberrypi.board import Board, Model
from balena_migrate.workstation.lab.machines.raspberrypi.config_txt import (
    Reading,
    UndefinedError,
    evaluate,
    included_names,
    is_wide,
    kernel_names,
)
from tests.support.boards import BOARDS, FILTERS

PI3 = BOARDS[Model.THREE_B]


def read(
    text: str, board: Board = PI3, *, tryboot: bool = False, early: bool = False, more: str = "", less: str = ""
) -> Reading:
    files = {"config.txt": text, "more.txt": more, "less.txt": less}
    return evaluate(files, board, start="config.txt", tryboot=tryboot, early=early)


def kernel(text: str, board: Board = PI3, *, tryboot: bool = False, more: str = "", less: str = "") -> str | None:
    """The value of `kernel`, "?" where it is undefined, None where it is not set."""
    try:
        return read(text, board, tryboot=tryboot, more=more, less=less).text("kernel")
    except UndefinedError:
        return "?"


def test_all_boards_are_looked_at() -> None:
    assert set(BOARDS) == set(Model)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("kernel=a", "a"),
        ("kernel=a\r\nkernel=b\r\n", "b"),
        ("#kernel=a", None),
        ("  # kernel=a", None),
        ("   kernel=a", "a"),
        ("kernel=a=b", "a=b"),
        ("kernel=" + "a" * 71, "a" * 71),
    ],
)
def test_a_line_is_a_setting_or_a_comment(text: str, value: str | None) -> None:
    """what_is_config_txt: one property=value a line, comments start with #; conditional shows indented lines."""
    assert kernel(text) == value


@pytest.mark.parametrize(
    "line",
    [
        "kernel=",
        "kernel a",
        "kernel = a",
        "kernel= a",
        "kernel=a ",
        "kernel=a # comment",
        "\tkernel=a",
        "Kernel=a",
        "kernel",
        "\ufeffkernel=a",
        "kernel=" + "a" * 72,
        "kernel=" + "\xe9" * 36,
    ],
)
def test_a_line_of_a_form_that_is_not_documented_leaves_its_setting_undefined(line: str) -> None:
    """The limit was 78 characters, and is 98."""
    assert kernel(f"kernel=b\n{line}\n") == "?"
    assert kernel(f"{line}\nkernel=b\n") == "b", "the last setting counts"
    assert kernel(f"[pi4]\n{line}\n[all]\n") is None


@pytest.mark.parametrize(
    "line", ["# kernel=a " * 20, "a kernel=a", ";kernel=a", "kernel:0=a", "\udcefkernel=a", "===="]
)
def test_what_is_about_nothing_or_another_setting_changes_nothing(line: str) -> None:
    """what_is_config_txt: what stands before the = is the property; what is past the limit is ignored."""
    assert kernel(f"kernel=b\n{line}\n") == "b"


@pytest.mark.parametrize("text", ["kernel=a\rkernel=b", "kernel=a\0"])
def test_control_characters_make_all_undefined(text: str) -> None:
    with pytest.raises(UndefinedError, match="control characters"):
        read(text)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("initramfs a", "a"),
        ("initramfs a,b 0x00800000", "a,b 0x00800000"),
        (" initramfs a followkernel", "a followkernel"),
    ],
)
def test_initramfs_is_written_without_an_equals_sign(line: str, value: str) -> None:
    """boot: initramfs, "uses different syntax"."""
    assert read(line).text("initramfs") == value


@pytest.mark.parametrize(
    "line", ["initramfs=a", "initramfs  a", "initramfs a ", "initramfs", "initramfs\ta", "initramfs "]
)
def test_another_way_to_write_initramfs_is_undefined(line: str) -> None:
    with pytest.raises(UndefinedError):
        read(line).text("initramfs")


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 7), ("gpu_mem=16", 16), ("gpu_mem=0", 0), ("gpu_mem=0x10", 16), ("gpu_mem=016", None), ("gpu_mem=1k", None)],
)
def test_a_number_is_an_integer(text: str, value: int | None) -> None:
    if value is None:
        with pytest.raises(UndefinedError, match="not a number"):
            read(text).number("gpu_mem", 7)
    else:
        assert read(text).number("gpu_mem", 7) == value


def test_a_prefix_may_be_empty() -> None:
    """boot, os_prefix: one that leads nowhere is set to "". Of no other setting is that said."""
    assert read("os_prefix=").text("os_prefix") == ""
    with pytest.raises(UndefinedError, match="cmdline without a value"):
        read("cmdline=").text("cmdline")


def test_a_switch_is_0_or_1() -> None:
    assert read("arm_64bit=1").switch("arm_64bit")
    assert not read("arm_64bit=0").switch("arm_64bit", default=True)
    assert read("").switch("arm_64bit", default=True)
    with pytest.raises(UndefinedError, match="neither 0 nor 1"):
        read("arm_64bit=2").switch("arm_64bit")


SEES = {
    Model.A: "pi1",
    Model.B: "pi1",
    Model.A_PLUS: "pi1",
    Model.B_PLUS: "pi1",
    Model.CM1: "pi1 cm1?",
    Model.TWO_B: "pi2",
    Model.THREE_B: "pi3",
    Model.THREE_B_PLUS: "pi3 pi3+",
    Model.THREE_A_PLUS: "pi3 pi3+",
    Model.CM3: "pi3 cm3?",
    Model.CM3_PLUS: "pi3 pi3+? cm3+?",
    Model.FOUR_B: "pi4",
    Model.FOUR_HUNDRED: "pi4 pi400",
    Model.CM4: "pi4 cm4",
    Model.CM4S: "pi4 cm4s",
    Model.FIVE: "pi5",
    Model.FIVE_HUNDRED: "pi5 pi500",
    Model.CM5: "pi5 cm5",
    Model.CM5_LITE: "pi5 cm5",
    Model.ZERO: "pi0",
    Model.ZERO_W: "pi0 pi0w",
    Model.ZERO_2_W: "pi0 pi0w pi02",
}
"""conditional, model filters: the table, read by board; "?" where the filter is much younger than the board."""


@pytest.mark.parametrize("model", Model)
def test_each_board_sees_its_model_filters_and_no_others(model: Model) -> None:
    found = {name: kernel(f"[{name}]\nkernel=a", BOARDS[model]) for name in FILTERS}
    seen = [name + {"a": "", "?": "?"}[value] for name, value in found.items() if value]
    assert sorted(seen) == sorted(SEES[model].split())


@pytest.mark.parametrize(
    ("number", "model", "value"),
    [
        ("0x8", Model.THREE_B, "a"),
        ("0x08", Model.THREE_B, "a"),
        ("0x14", Model.CM4, "a"),
        ("0x1a", Model.CM5_LITE, "a"),
        ("0x1A", Model.CM5_LITE, "a"),
        ("0x14", Model.CM4S, None),
        ("0x1", Model.B, "?"),
        ("0x1", Model.ZERO, None),
        ("20", Model.CM4, "?"),
        ("0x14", Model.B, None),
    ],
)
def test_a_board_type_is_the_number_of_the_revision_code(number: str, model: Model, value: str | None) -> None:
    """conditional: [board-type=0x14] is the CM4; revision-codes: the first boards have codes without a type."""
    assert kernel(f"[board-type={number}]\nkernel=a", BOARDS[model]) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[pi4]\n[pi3]\nkernel=a", "a"),
        ("[pi3]\n[pi4]\nkernel=a", None),
        ("[pi4]\nkernel=b\n[all]\nkernel=a", "a"),
        ("[none]\nkernel=a", None),
        ("[none]\n[all]\nkernel=a", "a"),
        ("[none]\n[pi4]\nkernel=a", None),
        ("[none]\n[pi3]\nkernel=a", "?"),
        ("[pi3]\n[none]\nkernel=a", None),
        ("[pi4]\n[board-type=0x08]\nkernel=a", "a"),
        ("[board-type=0x08]\n[pi3]\nkernel=a", "a"),
        ("[board-type=0x14]\n[pi3]\nkernel=a", "a"),
        ("[gpio4=1]\n[board-type=0x14]\nkernel=a", None),
        ("[tryboot]\nkernel=a", None),
        ("[tryboot]\n[pi3]\nkernel=a", None),
        ("[gpio4=1]\n[pi4]\nkernel=a", None),
        ("[pi4]\n[gpio4=1]\nkernel=a", None),
        ("[gpio4=1]\n[pi3]\nkernel=a", "?"),
        ("kernel=b\n[gpio4=1]\nkernel=a\n[all]", "?"),
        ("[gpio4=1]\nkernel=a\n[all]\nkernel=b", "b"),
    ],
)
def test_filters_of_one_type_replace_each_other_and_of_others_combine(text: str, value: str | None) -> None:
    """conditional, combining; [board-type=...] is in the table of model filters; what ends a [none] is not said."""
    assert kernel(text) == value


def test_tryboot_is_a_filter() -> None:
    """conditional: it succeeds if the flag is set."""
    assert kernel("[tryboot]\nkernel=a", tryboot=True) == "a"
    assert kernel("[tryboot]\n[pi4]\nkernel=a", tryboot=True) is None


@pytest.mark.parametrize(
    "line",
    [
        "[0x12345678]",
        "[gpio4=1]",
        "[EDID=VSC-TD2220]",
        "[HDMI:0]",
        "[boot_partition=2]",
        "[boot_count>1]",
        "[partition&1=1]",
    ],
)
def test_a_filter_on_what_nobody_knows_here_leaves_its_settings_undefined(line: str) -> None:
    assert kernel(f"{line}\nkernel=a") == "?"
    assert kernel(f"[pi4]\n{line}\nkernel=a") is None


@pytest.mark.parametrize(
    "line",
    [
        "[pi6]",
        "[PI3]",
        "[ pi3]",
        "[pi3] ",
        "[pi3] # a",
        "[pi3][pi3]",
        "[all][pi3]",
        "[EDID=a][all]",
        "[pi3",
        "\ufeff[pi3]",
        "[]",
        "\t[pi3]",
    ],
)
def test_an_unknown_filter_leaves_all_undefined_until_the_next_all(line: str) -> None:
    """It may be ignored, fail, or replace any other, whose type it may have."""
    assert kernel(f"{line}\nkernel=a") == "?"
    assert kernel(f"[pi4]\n{line}\nkernel=a") == "?"
    assert kernel(f"{line}\n[pi4]\nkernel=a") is None
    assert kernel(f"{line}\n[all]\nkernel=a") == "a"


def test_an_include_puts_the_file_in_its_place() -> None:
    """what_is_config_txt: include; the text is inserted, and so are the filters in it."""
    assert kernel("kernel=b\ninclude More.txt\n", more="kernel=a") == "a"
    assert kernel("include more.txt\nkernel=b\n", more="kernel=a") == "b"
    assert kernel("include more.txt\nkernel=b\n", more="[pi4]") is None
    assert kernel("[pi4]\ninclude more.txt\n", more="kernel=a") is None
    assert kernel("include more.txt\n", more="include less.txt\n", less="kernel=a") == "a"
    assert included_names("include More.txt\r\n#include a\n include b\nincluded c\n") == ["more.txt", "b"]


@pytest.mark.parametrize(
    "line",
    [
        *("include  more.txt", "include more.txt ", "include=more.txt", "Include more.txt", "\tinclude more.txt"),
        *("include /more.txt", "include more.txt" + " " * 70, "\ufeffinclude more.txt"),
    ],
)
def test_a_line_that_comes_close_to_an_include_may_be_one(line: str) -> None:
    assert kernel(f"{line}\n", more="kernel=a") == "?"
    assert kernel(f"kernel=a\n{line}\n", more="cmdline=a") == "a"
    assert kernel(f"{line}\nkernel=a\n", more="[pi4]") == "?"
    assert included_names(line) == ["more.txt"]


def test_whether_a_filter_keeps_an_include_out_is_not_said() -> None:
    """conditional: filters are about settings."""
    assert kernel("[pi4]\ninclude more.txt\n", more="[all]\nkernel=a") == "?"
    assert kernel("[pi4]\ninclude more.txt\nkernel=a", more="[all]") == "?"
    assert kernel("[pi4]\ninclude more.txt\nkernel=a", more="[pi4]\n") is None
    assert kernel("[pi4]\ninclude more.txt\nkernel=a", more="[gpio4=1]\n[pi2]\n") is None
    assert kernel("[pi4]\ninclude more.txt\nkernel=a", more="[pi3]\n") == "?"
    assert kernel("[gpio4=1]\ninclude more.txt\nkernel=a", more="[all]") == "?"
    assert kernel("[gpio4=1]\ninclude more.txt\n[all]\nkernel=b", more="[all]\nkernel=a") == "b"
    assert kernel("kernel=b\n[pi4]\ninclude more.txt\n", more="[all]\ncmdline=a") == "b"


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("include gone.txt", ""),
        ("include more.txt", "include config.txt"),
        ("include=gone.txt", "kernel=a"),
        ("include", ""),
    ],
)
def test_an_include_that_is_not_described_makes_all_undefined(text: str, more: str) -> None:
    with pytest.raises(UndefinedError, match="include"):
        read(text, more=more)


def test_the_first_program_knows_no_include_and_maybe_no_filters() -> None:
    """what_is_config_txt: include; raspberrypi/firmware#1076: filters."""
    reading = read("[pi4]\ngpu_mem=16\n[all]\ninclude more.txt\n", early=True, more="start_x=1")
    assert reading.values == {"gpu_mem": "16"}


def test_without_the_file_nothing_is_set() -> None:
    """what_is_config_txt: it is optional."""
    assert evaluate({}, PI3, start="config.txt") == Reading(values={}, undefined={})


@pytest.mark.parametrize(
    ("text", "model", "names"),
    [
        ("", Model.ZERO, ("kernel.img",)),
        ("", Model.TWO_B, ("kernel7.img",)),
        ("", Model.ZERO_2_W, ("kernel7.img",)),
        ("arm_64bit=1", Model.ZERO_2_W, ("kernel8.img",)),
        ("", Model.CM4S, ("kernel8.img",)),
        ("arm_64bit=0", Model.CM4S, ("kernel7l.img",)),
        ("", Model.FIVE, ("kernel_2712.img", "kernel8.img")),
        ("arm_64bit=0", Model.FIVE, ("kernel_2712.img", "kernel8.img")),
        ("kernel=a", Model.FIVE, ("a",)),
    ],
)
def test_each_board_has_its_kernel(text: str, model: Model, names: tuple[str, ...]) -> None:
    """boot: kernel, arm_64bit."""
    assert kernel_names(read(text, BOARDS[model]), BOARDS[model]) == names


@pytest.mark.parametrize(
    ("text", "model", "wide"),
    [
        ("kernel=a", Model.THREE_B, False),
        ("kernel=a\narm_64bit=1", Model.THREE_B, True),
        ("kernel=kernel8.img", Model.THREE_B, True),
        ("kernel=kernel7l.img", Model.FOUR_B, False),
        ("kernel=kernel7.img\narm_64bit=1", Model.THREE_B, None),
        ("kernel=kernel8.img\narm_64bit=0", Model.FOUR_B, None),
        ("kernel=x/kernel8.img", Model.THREE_B, None),
        ("kernel=KERNEL8.IMG", Model.THREE_B, None),
        ("kernel=x/kernel8.img", Model.FOUR_B, True),
        ("kernel=kernel8.img", Model.ZERO, None),
        ("arm_64bit=1", Model.TWO_B, None),
        ("arm_control=0x200", Model.THREE_B, None),
        ("arm_control=512", Model.THREE_B, None),
        ("arm_control=0", Model.THREE_B, False),
        ("arm_64bit=0\narm_control=512", Model.FIVE, True),
    ],
)
def test_the_width_is_set_or_follows_from_the_kernels_name(text: str, model: Model, wide: bool | None) -> None:
    """boot: arm_64bit; None where nothing says which of two settings counts, or the chip has no such width."""
    reading = read(text, BOARDS[model])
    if wide is None:
        with pytest.raises(UndefinedError):
            is_wide(reading, BOARDS[model])
    else:
        assert is_wide(reading, BOARDS[model]) is wide
