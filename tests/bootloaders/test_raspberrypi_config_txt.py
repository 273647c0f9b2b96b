# SPDX-License-Identifier: Apache-2.0
"""What config.txt means on a board, and that the edit wins, and loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.bootloaders.raspberrypi.board import Board, Chip, Model
from balena_migrate.bootloaders.raspberrypi.config_txt import (
    INCLUDED,
    Line,
    Settings,
    UnclearError,
    command_line_file,
    edit,
    evaluate,
    kernel_names,
    named_files,
    parse_line,
    split_lines,
)

PI3 = Board(model=Model.THREE_B, chip=Chip.BCM2837, memory_bytes=0)
PI4 = Board(model=Model.FOUR_B, chip=Chip.BCM2711, memory_bytes=0)
PI5 = Board(model=Model.FIVE, chip=Chip.BCM2712, memory_bytes=0)
COPY = INCLUDED.format(1)
ZERO_W = Board(model=Model.ZERO_W, chip=Chip.BCM2835, memory_bytes=0)
BOARDS = (PI3, PI4, PI5, ZERO_W)


def settings(text: str, board: Board = PI3, **more: str) -> Settings:
    return evaluate({"config.txt": text, **{f"{name}.txt": content for name, content in more.items()}}, board)


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("kernel=a.img\n", Line("kernel", "a.img")),
        ("kernel=a.img\r\n", Line("kernel", "a.img")),
        ("  kernel=a.img", Line("kernel", "a.img")),
        ("dtparam=i2c_arm=on\n", Line("dtparam", "i2c_arm=on")),
        ("#kernel=a.img\n", None),
        ("\n", None),
        ("\0\0\n", None),
        ("initramfs a.gz followkernel\n", Line("initramfs", "a.gz followkernel")),
        ("os_prefix=\n", Line("os_prefix", "")),
        ("kernel=" + "x" * 71 + "\r\n", Line("kernel", "x" * 71)),
        ("include more.txt\n", Line("include", "more.txt")),
        ("[pi3]\n", Line("[", "pi3")),
        ("[all][pi4]\n", Line("[", "[all][pi4]")),
        ("[pi3\n", Line("[", "[pi3")),
        ("cmdline=" + "x" * 70, Line("cmdline", "x" * 70)),
    ],
)
def test_a_line_says_what_the_documentation_says(line: str, parsed: Line | None) -> None:
    assert parse_line(line) == parsed


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("kernel a.img\n", "kernel", "a.img"),
        ("kernel = a.img\n", "kernel", "a.img"),
        ("auto_initramfs =1\n", "auto_initramfs", "1"),
        ("KERNEL=a.img\n", "kernel", "a.img"),
        ("initramfs=a.gz\n", "initramfs", "a.gz"),
        ("include=a.txt\n", "include", "a.txt"),
        ("\ufeffkernel=a.img\n", "kernel", "a.img"),
        ("\ufeff[pi3]\n", "[", "pi3"),
        ("kernel=a.img \n", "kernel", "a.img "),
        ("kernel=a.img # mine\n", "kernel", "a.img # mine"),
        ("kernel=\n", "kernel", ""),
        ("kernel\n", "kernel", ""),
        ("\tkernel=a.img\n", "kernel", "a.img"),
        ("initramfs\ta.gz\n", "initramfs", "a.gz"),
        ("initramfs a.gz  followkernel\n", "initramfs", "a.gz  followkernel"),
        ("initramfs a.gz \n", "initramfs", "a.gz"),
        ("include /a.txt\n", "include", "/a.txt"),
        ("cmdline=" + "x" * 71, "cmdline", "x" * 71),
        ("    cmdline=" + "x" * 67, "cmdline", "x" * 67),
        ("cmdline=" + "\xe9" * 36, "cmdline", "\xe9" * 36),
        ("cmdline=" + "x" * 100, "cmdline", "x" * 90),
    ],
)
def test_what_only_comes_close_to_the_documented_form_is_not_certain(line: str, key: str, value: str) -> None:
    """It may hold or not: neither is relied upon. Of a long line nothing behind the limit is known."""
    assert parse_line(line) == Line(key, value, certain=False)
    if key != "[":
        assert key in settings(line).unclear
        assert key not in settings("[pi4]\n" + line).unclear


def test_filters_of_one_type_replace_each_other() -> None:
    text = "[pi4]\nkernel=four\n[pi3]\nkernel=three\n[pi2]\nkernel=two\n"
    assert settings(text, PI3).get("kernel") == "three"
    assert settings(text, PI4).get("kernel") == "four"
    assert settings(text, PI5).get("kernel") == ""


def test_a_board_sees_the_filters_of_its_family() -> None:
    text = "[pi0]\na=1\n[pi0w]\nb=1\n[pi02]\nc=1\n[board-type=0x0c]\nd=1\n[board-type=0x9]\ne=1\n"
    assert dict(settings(text, ZERO_W).values) == {"a": "1", "b": "1", "d": "1"}


def test_filters_of_different_types_add_up_until_all() -> None:
    text = "[none]\na=1\n[all]\nb=1\n[tryboot]\n[pi3]\nc=1\n[all]\nd=1\n"
    assert dict(settings(text).values) == {"b": "1", "d": "1"}
    assert dict(evaluate({"config.txt": text}, PI3, tryboot=True).values) == {"b": "1", "c": "1", "d": "1"}


UNKNOWN_FILTERS = (
    *("EDID=X", "gpio4=1", "0x1234", "HDMI:0", "pi6", "PI3", "ALL", "all][pi4", "none]\n[pi3", "pi3] # mine"),
    *("partition=2", "boot_partition=1", "boot_count>2", "boot_arg1=1", "board-type=017", "board-type=8", "\ufeffall"),
)


@pytest.mark.parametrize("name", UNKNOWN_FILTERS)
def test_what_a_filter_does_that_cannot_be_judged_is_unclear(name: str) -> None:
    result = settings(f"kernel=a\n[{name}]\nkernel=b\n")
    with pytest.raises(UnclearError, match=r"config\.txt:\d"):
        result.get("kernel")
    assert settings(f"[{name}]\nkernel=b\n[all]\nkernel=c\n").get("kernel") == "c"


@pytest.mark.parametrize(("partition", "kernel"), [(1, "one"), (2, "two"), (3, "")])
def test_a_partition_sees_its_own_sections(partition: int, kernel: str) -> None:
    """One type of filter: as in the documentation's example, the next one replaces the one before."""
    files = {"config.txt": "[boot_partition=1]\nkernel=one\n[boot_partition=2]\nkernel=two\n"}
    assert evaluate(files, PI5, partition=partition).get("kernel") == kernel
    assert "kernel" in evaluate(files, PI5).unclear


@pytest.mark.parametrize("name", ["boot_partition>1", "boot_count=1", "board_attributes&0x1"])
def test_whether_another_expression_ends_a_partitions_section_is_not_said(name: str) -> None:
    files = {"config.txt": f"[boot_partition=2]\n[{name}]\nkernel=a\n"}
    assert "kernel" in evaluate(files, PI5, partition=1).unclear


@pytest.mark.parametrize("name", ["PI4", "pi4] # mine", "pi6", "pi3][pi3"])
def test_a_filter_that_is_not_known_may_replace_any_other(name: str) -> None:
    """conditional says nothing of it: it may be ignored, fail, or be of the type of another one, and replace it."""
    assert "kernel" in settings(f"[pi2]\n[{name}]\nkernel=b\n").unclear
    assert "kernel" in settings(f"[{name}]\n[pi3]\nkernel=b\n").unclear
    assert settings(f"[{name}]\n[pi2]\nkernel=b\n").get("kernel") == ""


def test_a_documented_filter_on_what_is_not_known_leaves_the_others() -> None:
    assert settings("[pi2]\n[gpio4=1]\nkernel=b\n").get("kernel") == ""
    assert settings("[HDMI:0]\n[pi2]\nkernel=b\n").get("kernel") == ""


def test_whether_a_filter_keeps_an_include_out_is_not_said() -> None:
    """conditional: it prevents settings from being applied; the file that is included may have an [all] of its own."""
    assert "kernel" in settings("[pi4]\ninclude more.txt\nkernel=a\n", more="[all]\n").unclear
    assert "kernel" in settings("[pi4]\ninclude more.txt\n", more="[all]\nkernel=a\n").unclear
    assert "kernel" in settings("[gpio4=1]\ninclude more.txt\nkernel=a\n", more="[all]\n").unclear
    assert settings("[pi4]\ninclude more.txt\n[all]\nkernel=a\n", more="[all]\n").get("kernel") == "a"
    assert settings("[pi4]\ninclude more.txt\nkernel=a\n", more="[pi4]\ncmdline=a\n").get("kernel") == ""


def test_a_filter_that_is_not_certain_ends_no_other() -> None:
    """A byte order mark stands before the [all] of an included file: does the section end there?"""
    result = settings("[gpio4=1]\ninclude more.txt\nkernel=c\n", more="\ufeff[all]\n")
    with pytest.raises(UnclearError):
        result.get("kernel")


def test_an_included_file_stands_in_its_includers_place() -> None:
    text = "kernel=a\ninclude more.txt\ncmdline=last\n"
    result = settings(text, more="kernel=b\ncmdline=first\n[pi4]\n", other="kernel=never\n")
    assert result.get("kernel") == "b"
    assert result.get("cmdline") == "first"  # the filter of the included file is still in force
    assert settings("[pi4]\ninclude more.txt\n", more="kernel=b\n").get("kernel") == ""
    assert settings("include config.txt\nkernel=a\n").get("kernel") == "a"


@pytest.mark.parametrize(
    ("text", "board", "names"),
    [
        ("", ZERO_W, ("kernel.img",)),
        ("", PI3, ("kernel7.img",)),
        ("arm_64bit=1", PI3, ("kernel8.img",)),
        ("", PI4, ("kernel8.img",)),
        ("arm_64bit=0", PI4, ("kernel7l.img",)),
        ("", PI5, ("kernel_2712.img", "kernel8.img")),
        ("arm_64bit=0", PI5, ("kernel_2712.img", "kernel8.img")),
        ("kernel=vmlinuz", PI3, ("vmlinuz",)),
    ],
)
def test_the_kernel_is_the_boards_own(text: str, board: Board, names: tuple[str, ...]) -> None:
    assert kernel_names(settings(text, board), board) == names


@pytest.mark.parametrize("text", ["arm_64bit=1", "arm_control=0x200", "arm_64bit=2"])
def test_the_kernel_is_not_guessed(text: str) -> None:
    with pytest.raises(UnclearError):
        kernel_names(settings(text, ZERO_W), ZERO_W)


TEXTS = [
    "",
    "kernel=a",
    "[pi4]\narm_boost=1\n[cm4]\notg_mode=1",
    "auto_initramfs=1\n[none]\n",
    "initramfs old.gz followkernel\r\nramfsfile=x\r\nramfsaddr=-1\r\n[pi2]\r\n",
    "[gpio4=1]\ninitramfs odd.gz 0x00800000\n",
    "upstream_kernel=1\nkernel=vmlinuz\ninitramfs initrd.img\n",
    "os_prefix=slot-A/\nauto_initramfs=1\n",
    "initramfs=wrong\n# last line without an end",
    "caf\udce9=1\n",
]


FAMILIES = {
    "pi1": (Model.A, Model.B, Model.A_PLUS, Model.B_PLUS, Model.CM1),
    "pi2": (Model.TWO_B,),
    "pi3": (Model.THREE_B, Model.THREE_B_PLUS, Model.THREE_A_PLUS, Model.CM3, Model.CM3_PLUS),
    "pi3+": (Model.THREE_A_PLUS, Model.THREE_B_PLUS),
    "pi4": (Model.FOUR_B, Model.FOUR_HUNDRED, Model.CM4, Model.CM4S),
    "pi400": (Model.FOUR_HUNDRED,),
    "cm4": (Model.CM4,),
    "cm4s": (Model.CM4S,),
    "pi0": (Model.ZERO, Model.ZERO_W, Model.ZERO_2_W),
    "pi0w": (Model.ZERO_W, Model.ZERO_2_W),
    "pi02": (Model.ZERO_2_W,),
    "pi5": (Model.FIVE, Model.FIVE_HUNDRED, Model.CM5, Model.CM5_LITE),
    "pi500": (Model.FIVE_HUNDRED,),
    "cm5": (Model.CM5, Model.CM5_LITE),
}


@pytest.mark.parametrize("model", list(Model))
def test_every_board_sees_its_own_sections_and_no_others(model: Model) -> None:
    board = Board(model=model, chip=Chip.BCM2837, memory_bytes=0)
    text = "".join(f"[{name}]\n{name.replace('+', 'plus')}=1\n" for name in FAMILIES)
    seen = {name.replace("+", "plus") for name, models in FAMILIES.items() if model in models}
    assert set(settings(text, board).values) == seen


@pytest.mark.parametrize("model", list(Model))
def test_a_board_type_is_hexadecimal(model: Model) -> None:
    """conditional: 0x14 is a CM4, no decimal is shown; revision-codes: the first boards may have one without a type."""
    board = Board(model=model, chip=Chip.BCM2837, memory_bytes=0)
    number = board.type_number
    result = settings(f"[board-type={number:#x}]\na=1\n[board-type={number + 1:#x}]\nb=1\n", board)
    old = number in (0, 1, 2, 3, 6)
    assert (set(result.values), set(result.unclear)) == ((set(), {"a"}) if old else ({"a"}, set()))
    assert settings(f"[board-type={number}]\nc=1\n", board).unclear.keys() == {"c"}


def test_the_3_plus_filter_on_its_compute_module_is_not_settled() -> None:
    """conditional: [pi3+] is for 3A+ and 3B+ in older editions; in the newest one the CM3+ sees it too."""
    board = Board(model=Model.CM3_PLUS, chip=Chip.BCM2837, memory_bytes=0)
    assert "kernel" in settings("[pi3+]\nkernel=a\n", board).unclear


@pytest.mark.parametrize("last", ["pi4", "none", "tryboot", "board-type=0x14", *UNKNOWN_FILTERS])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_our_lines_hold_whatever_section_comes_last(last: str, end: str) -> None:
    files = {"config.txt": f"[{last}]{end}initramfs other{end}"}
    after = evaluate({**files, **edit(files, PI3, initramfs="ours", cmdline="ours.txt")}, PI3)
    assert (after.get("initramfs"), after.get("cmdline")) == ("/ours followkernel", "ours.txt")


@pytest.mark.parametrize(
    "line",
    [
        "ramfsfile a",
        "auto_initramfs = 1",
        "initramfs=a",
        "Initramfs a",
        "\ufeffinitramfs a",
        "ramfsaddr=0x1",
        "initramfs a",
    ],
)
def test_whatever_may_name_another_initramfs_becomes_a_comment(line: str) -> None:
    assert edit({"config.txt": f"{line}\n"}, PI3, initramfs="ours")["config.txt"].startswith(f"#{line}\n# balena")


def test_a_file_with_a_nul_is_not_edited() -> None:
    """The firmware may take it for the end, and our lines with it."""
    with pytest.raises(UnclearError, match=r"more\.txt holds a NUL"):
        edit({"config.txt": "include more.txt\n", "more.txt": "a=1\n\0"}, PI3, initramfs="ours")


def test_a_file_with_a_carriage_return_alone_is_not_edited() -> None:
    """Nothing says whether the firmware takes it for the end of a line."""
    with pytest.raises(UnclearError, match="carriage return alone"):
        edit({"config.txt": "a=1\rb=1\r\n"}, PI3, initramfs="ours")
    assert edit({"config.txt": "a=1\r\r\n\r\n"}, PI3, initramfs="ours")


def test_the_files_that_lines_name_are_known() -> None:
    text = "include a.txt\n[pi4]\ninclude /B.txt\nos_prefix=new/\nos_prefix=pre-\n[all]\ncmdline=c.txt\ninclude \n"
    names = {f"{prefix}{name}.txt" for prefix in ("", "upstream/", "new/", "pre-") for name in ("cmdline", "c")}
    assert named_files({"config.txt": text}) == {"a.txt", "b.txt", "new/state"} | names


@pytest.mark.parametrize(
    ("text", "files", "name"),
    [
        ("", ("cmdline.txt",), "cmdline.txt"),
        ("", (), ""),
        ("cmdline=C.txt\n", ("cmdline.txt", "c.txt"), "c.txt"),
        ("os_prefix=new/\n", ("new/cmdline.txt",), "new/cmdline.txt"),
        ("os_prefix=new/\n", ("cmdline.txt",), "cmdline.txt"),
        ("os_prefix=new/\ncmdline=/cmdline.txt\n", ("cmdline.txt", "new/cmdline.txt"), "cmdline.txt"),
        ("upstream_kernel=1\n", ("upstream/cmdline.txt",), "upstream/cmdline.txt"),
    ],
)
def test_the_command_line_is_where_the_prefix_leads(text: str, files: tuple[str, ...], name: str) -> None:
    assert command_line_file({"config.txt": text, **{file: file for file in files}}, settings(text)) == name


def test_two_different_command_lines_are_not_chosen_between() -> None:
    """A prefix without a kernel is ignored, and whether there is one is not seen here."""
    same = {"cmdline.txt": "root=a", "new/cmdline.txt": "root=a"}
    assert command_line_file(same, settings("os_prefix=new/\n")) == "new/cmdline.txt"
    with pytest.raises(UnclearError, match="differ"):
        command_line_file({**same, "cmdline.txt": "root=b"}, settings("os_prefix=new/\n"))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.model)
def test_after_the_edit_only_our_initramfs_holds(text: str, board: Board) -> None:
    files = {"config.txt": text}
    after = evaluate({**files, **edit(files, board, initramfs="ours", cmdline="ours.txt")}, board)
    assert after.get("initramfs").removeprefix("/") == "ours followkernel"
    assert after.get("cmdline").removeprefix("/") == "ours.txt"
    assert (after.get("ramfsfile"), after.get("auto_initramfs", "0")) == ("", "0")


@pytest.mark.parametrize("text", TEXTS)
def test_the_edit_keeps_every_other_line(text: str) -> None:
    """Each old line is still there, in its order, as it was or behind a comment sign; line ends stay of one kind."""
    new = edit({"config.txt": text}, PI3, initramfs="ours")["config.txt"]
    kept = [line.removeprefix("#initramfs") for line in split_lines(new)]
    for line in split_lines(text):
        assert line in kept or f"#{line}" in split_lines(new) or line + "\n" in kept
    if "\r\n" in text:
        assert new.count("\n") == new.count("\r\n")
    assert all(len(line.rstrip()) <= 78 for line in split_lines(new)[-4:])


def test_an_initramfs_in_an_included_file_goes_too() -> None:
    files = {
        "config.txt": "include more.txt\n",
        "more.txt": "kernel=k\nauto_initramfs=1\n",
        "alone.txt": "ramfsfile=x\n",
    }
    changed = edit(files, PI3, initramfs="ours")
    assert set(changed) == {"config.txt", COPY}
    assert changed[COPY] == "kernel=k\n#auto_initramfs=1\n"
    assert changed["config.txt"].startswith(f"include {COPY}\n# balena")


def test_a_copy_is_included_through_the_files_that_include_it_and_a_circle_ends() -> None:
    files = {
        "config.txt": "include plain.txt\ninclude outer.txt\n",
        "outer.txt": "[pi3]\ninclude Inner.txt\ninclude outer.txt\n",
        "inner.txt": "kernel=k\ninitramfs a\n",
        "plain.txt": "include plain.txt\n",
    }
    inner, outer = INCLUDED.format(1), INCLUDED.format(2)
    changed = edit(files, PI3, initramfs="ours")
    assert changed["config.txt"].startswith(f"include plain.txt\ninclude {outer}\n#")
    assert changed[outer] == f"[pi3]\ninclude {inner}\ninclude {outer}\n"
    assert changed[inner] == "kernel=k\n#initramfs a\n"
    after = evaluate({**files, **changed}, PI3)
    assert (after.get("kernel"), after.get("initramfs")) == ("k", "/ours followkernel")


def test_a_copy_takes_the_files_place_however_that_is_named() -> None:
    """A line that is not certain stays so: what it includes held perhaps before, and holds perhaps now."""
    for form in ("include /more.txt", " include more.txt", "include=more.txt", "Include more.txt # more.txt"):
        changed = edit({"config.txt": f"{form}\n", "more.txt": "initramfs a\n"}, PI3, initramfs="ours")
        assert set(changed) == {"config.txt"} if "#" in form else {"config.txt", COPY}
        if "#" not in form:
            assert changed["config.txt"].startswith(f"{form.replace('more.txt', COPY)}\n")


def test_a_copy_whose_name_makes_the_line_too_long_is_refused() -> None:
    line = " " * 50 + "include more.txt"
    with pytest.raises(UnclearError, match="length of its line"):
        edit({"config.txt": line, "more.txt": "initramfs a\n"}, PI3, initramfs="ours")


@pytest.mark.parametrize("text", ["os_prefix=a/\n", "[pi4]\nos_prefix=a/\n", "upstream_kernel=1\n"])
def test_a_prefix_is_passed_by(text: str) -> None:
    changed = edit({"config.txt": text}, PI3, initramfs="ours", cmdline="ours.txt")["config.txt"]
    assert "\ninitramfs /ours followkernel\ncmdline=/ours.txt\n" in changed


def test_without_a_prefix_the_command_line_has_its_plain_name() -> None:
    """Firmware that is older than os_prefix may know no absolute one, and a kernel without it finds no root."""
    changed = edit({"config.txt": ""}, PI3, initramfs="ours", cmdline="ours.txt")["config.txt"]
    assert changed.endswith("[all]\ninitramfs /ours followkernel\ncmdline=ours.txt\n")


@given(
    st.lists(st.sampled_from(["[pi3]", "[all]", "[none]", "[x]", "kernel=k", "initramfs a", "auto_initramfs=1", "#"]))
)
def test_no_order_of_lines_defeats_the_edit(lines: list[str]) -> None:
    files = {"config.txt": "\n".join(lines)}
    after = evaluate({**files, **edit(files, PI3, initramfs="ours")}, PI3)
    assert after.get("initramfs") == "/ours followkernel"
    assert after.get("auto_initramfs", "0") == "0"
