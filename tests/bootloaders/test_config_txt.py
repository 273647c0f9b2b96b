"""What config.txt means on a board, and that the edit wins, and loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balena_migrate.bootloaders.config_txt import (
    Settings,
    UnclearError,
    add_arguments,
    edit,
    evaluate,
    kernel_names,
    parse_line,
    split_lines,
)
from balena_migrate.pi_board import Board, Chip, Model

PI3 = Board(model=Model.THREE_B, chip=Chip.BCM2837, memory_bytes=0)
PI4 = Board(model=Model.FOUR_B, chip=Chip.BCM2711, memory_bytes=0)
PI5 = Board(model=Model.FIVE, chip=Chip.BCM2712, memory_bytes=0)
ZERO_W = Board(model=Model.ZERO_W, chip=Chip.BCM2835, memory_bytes=0)
BOARDS = (PI3, PI4, PI5, ZERO_W)


def settings(text: str, board: Board = PI3, **more: str) -> Settings:
    return evaluate({"config.txt": text, **{f"{name}.txt": content for name, content in more.items()}}, board)


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("kernel=a.img\n", ("kernel", "a.img")),
        ("kernel=a.img\r\n", ("kernel", "a.img")),
        ("  kernel=a.img", ("kernel", "a.img")),
        ("dtparam=i2c_arm=on\n", ("dtparam", "i2c_arm=on")),
        ("kernel a.img\n", None),
        ("kernel = a.img\n", None),
        ("#kernel=a.img\n", None),
        ("\n", None),
        ("initramfs a.gz followkernel\n", ("initramfs", "a.gz followkernel")),
        ("initramfs\ta.gz\n", ("initramfs", "a.gz")),
        ("initramfs=a.gz\n", ("initramfs=", "a.gz")),
        ("include more.txt\n", ("include", "more.txt")),
        ("[pi3]\n", ("[", "pi3")),
        ("[all][pi4]\n", ("[", "[all][pi4]")),
        ("[pi3\n", ("[", "[pi3")),
        ("cmdline=" + "x" * 100, ("cmdline", "x" * 90)),
    ],
)
def test_a_line_says_what_the_documentation_says(line: str, parsed: tuple[str, str] | None) -> None:
    assert parse_line(line) == parsed


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


@pytest.mark.parametrize("name", ["EDID=X", "gpio4=1", "0x1234", "HDMI:0", "pi6", "PI3", "all][pi4", "none]\n[pi3"])
def test_what_a_filter_does_that_cannot_be_judged_is_unclear(name: str) -> None:
    result = settings(f"kernel=a\n[{name}]\nkernel=b\n")
    with pytest.raises(UnclearError, match=r"config\.txt:\d"):
        result.get("kernel")
    assert settings(f"[{name}]\nkernel=b\n[all]\nkernel=c\n").get("kernel") == "c"


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
    assert set(changed) == {"config.txt", "more.txt"}
    assert changed["more.txt"] == "kernel=k\n#auto_initramfs=1\n"


@pytest.mark.parametrize("text", ["os_prefix=a/\n", "[pi4]\nos_prefix=a/\n", "upstream_kernel=1\n"])
def test_a_prefix_is_passed_by(text: str) -> None:
    changed = edit({"config.txt": text}, PI3, initramfs="ours")["config.txt"]
    assert "\ninitramfs /ours followkernel\n" in changed


@given(
    st.lists(st.sampled_from(["[pi3]", "[all]", "[none]", "[x]", "kernel=k", "initramfs a", "auto_initramfs=1", "#"]))
)
def test_no_order_of_lines_defeats_the_edit(lines: list[str]) -> None:
    files = {"config.txt": "\n".join(lines)}
    after = evaluate({**files, **edit(files, PI3, initramfs="ours")}, PI3)
    assert after.get("initramfs") == "ours followkernel"
    assert after.get("auto_initramfs", "0") == "0"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("root=/dev/mmcblk0p2 rootwait\n", "root=/dev/mmcblk0p2 rootwait debug\n"),
        ("root=/dev/mmcblk0p2", "root=/dev/mmcblk0p2 debug"),
        ("root=x \r\n", "root=x debug\r\n"),
        ("a debug b\n", "a debug b\n"),
        ("first\nsecond\n\n", "first debug\nsecond\n\n"),
        ("", "debug"),
    ],
)
def test_arguments_join_the_first_line(text: str, result: str) -> None:
    assert add_arguments(text, ("debug",)) == result
