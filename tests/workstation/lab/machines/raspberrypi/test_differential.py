# SPDX-License-Identifier: Apache-2.0
"""Two readings of the maker's documentation, the product's and the lab's, which know nothing of each other, agree.

The product's is bootloaders.raspberrypi.config_txt. It may refuse whatever it likes: a setting that it calls unclear is
no claim. What it does claim, the lab's reader has to say too; where this one finds that the documentation says nothing,
that is a difference as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balena_migrate.bootloaders.raspberrypi import autoboot
from balena_migrate.bootloaders.raspberrypi import config_txt as product
from balena_migrate.bootloaders.raspberrypi.board import Board, Model
from balena_migrate.workstation.lab.machines.raspberrypi import config_txt as lab
from balena_migrate.workstation.lab.machines.raspberrypi.firmware import read_autoboot
from tests.support.boards import BOARDS, FILTERS
from tests.support.corpus import corpus

pytestmark = pytest.mark.long

KEYS = (
    *("kernel", "initramfs", "ramfsfile", "ramfsaddr", "auto_initramfs", "cmdline", "device_tree", "os_prefix"),
    *("upstream_kernel", "arm_64bit", "arm_control", "boot_ramdisk", "start_x", "start_file", "gpu_mem"),
)
"""What decides about a start."""
OURS, OUR_CMDLINE = "balena-ours", "balena-ours.txt"
UNDEFINED = "undefined"
NAMES = re.compile(r"(.*config|syscfg|usercfg|nobtcfg|recovery)[^/]*txt.*")

Files = Mapping[str, str]


def product_claims(files: Files, board: Board, tryboot: bool, partition: int | None = None) -> dict[str, object]:
    found = product.evaluate(files, board, tryboot=tryboot, partition=partition)
    asked: dict[str, Callable[[], object]] = {key: partial(found.get, key) for key in KEYS}
    return _answers({**asked, "kernel_names": partial(product.kernel_names, found, board)}, product.UnclearError)


def lab_claims(files: Files, board: Board, tryboot: bool, partition: int | None = None) -> dict[str, object]:
    try:
        found = lab.evaluate(files, board, start="config.txt", tryboot=tryboot, partition=partition)
    except lab.UndefinedError:
        return {}
    asked: dict[str, Callable[[], object]] = {key: partial(found.text, key) for key in KEYS}
    answers = _answers({**asked, "kernel_names": partial(lab.kernel_names, found, board)}, lab.UndefinedError)
    return {name: "" if answer is None else answer for name, answer in answers.items()}


def _answers(asked: Mapping[str, Callable[[], object]], error: type[Exception]) -> dict[str, object]:
    answers = {}
    for name, ask in asked.items():
        try:
            answers[name] = ask()
        except error:
            continue
    return answers


def differences(
    files: Files, board: Board, tryboot: bool = False, partition: int | None = None
) -> dict[str, tuple[object, object]]:
    """By name what the product claims and what the lab says, where that is not the same."""
    first, second = (claims(files, board, tryboot, partition) for claims in (product_claims, lab_claims))
    both = {name: (claim, second.get(name, UNDEFINED)) for name, claim in first.items()}
    return {name: (claim, answer) for name, (claim, answer) in both.items() if claim != answer}


FORMS = (
    *("{k}={v}", "{k} {v}", "{k} = {v}", " {k}={v}", "\t{k}={v}", "{k}={v} ", "{k}={v} # c", "{k}= {v}", "{K}={v}"),
    *("#{k}={v}", ";{k}={v}", "{k}", "\ufeff{k}={v}", "{k}:0={v}", "{k} {v} followkernel", "{k} {v},b 0x800000"),
    *("{k}  {v}", "{k} {v} ", "{k}\t{v}", "{k}" + " " * 60 + "={v}", "{k}={v}" + "\xe9" * 36, "    {k}={v}" + "x" * 68),
)
VALUES = ("0", "1", "2", "a", "", "b/", "/c", "0x0", "0x200", "16", "kernel8.img", "x" * 71, "x" * 98)
own_lines = st.builds(
    lambda form, key, value: form.format(k=key, K=key.title(), v=value),
    st.sampled_from(FORMS),
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
)
filter_lines = st.builds(
    lambda form, name: form.format(name),
    st.sampled_from(
        (*["[{}]"] * 8, " [{}]", "\t[{}]", "[{}] ", "[{}] # c", "[ {}]", "[{}", "\ufeff[{}]", "#[{}]", "[{}][all]")
    ),
    st.sampled_from(
        (
            *FILTERS,
            *["all"] * 9,
            *(
                "none",
                "tryboot",
                "gpio4=1",
                "gpio5=0",
                "0x1234",
                "EDID=VSC-TD2220",
                "HDMI:0",
                "partition=2",
                "boot_count>1",
                *["boot_partition=1", "boot_partition=2"] * 2,
                "boot_partition>1",
                "board_attributes&0x1",
            ),
            *(
                "board-type=0x08",
                "board-type=0x14",
                "board-type=0x1",
                "board-type=0x1a",
                "board-type=20",
                "board-type=x",
            ),
            *("pi6", "PI3", "", "x"),
        )
    ),
)
include_lines = st.sampled_from(
    (
        *["include more.txt"] * 4,
        *(" include MORE.TXT", "include more.txt ", "include  more.txt", "include=more.txt", "\tinclude more.txt"),
        *("Include more.txt", "include /more.txt", "#include more.txt", "include more.txt" + " " * 70),
    )
)


def configs(*lines: st.SearchStrategy[str]) -> st.SearchStrategy[Files]:
    """A config.txt of such lines, and the more.txt that it may include, which includes nothing itself."""
    ends = st.sampled_from(("\n", "\n", "\r\n"))
    texts = st.builds(lambda end, found: end.join(found), ends, st.lists(st.one_of(*lines, include_lines), max_size=8))
    more = st.builds(lambda end, found: end.join(found), ends, st.lists(st.one_of(*lines), max_size=4))
    return st.builds(lambda text, other: {"config.txt": text, "more.txt": other}, texts, more)


boards = st.sampled_from(list(BOARDS.values()))
MANY = settings(max_examples=800, deadline=None)


@MANY
@given(configs(own_lines, own_lines, filter_lines), boards, st.booleans(), st.sampled_from((None, 1, 2)))
def test_the_product_claims_nothing_that_the_documentation_does_not_say(
    files: Files, board: Board, tryboot: bool, partition: int | None
) -> None:
    assert differences(files, board, tryboot, partition) == {}


@cache
def collection() -> dict[str, str]:
    """Each config.txt of the collection and what those include, by path."""
    found = sorted(path for path in corpus("rpi-boot").rglob("*") if path.is_file() and NAMES.fullmatch(path.name))
    return {str(path): path.read_bytes().decode("utf-8", "surrogateescape") for path in found}


def test_they_agree_about_every_file_of_the_collection() -> None:
    claims = 0
    for text in collection().values():
        files = {**dict.fromkeys(lab.included_names(text), ""), "config.txt": text}
        for board in BOARDS.values():
            assert differences(files, board) == {}, (board.name, text)
            claims += len(product_claims(files, board, False))
    assert claims > 40_000


def test_they_agree_about_the_lines_of_the_collection_in_any_order() -> None:
    lines = {line.rstrip("\r") for text in collection().values() for line in text.split("\n")}
    known = st.sampled_from(sorted(line for line in lines if not line.startswith(("#", "include"))))

    @MANY
    @given(configs(known, known, filter_lines), boards)
    def in_any_order(files: Files, board: Board) -> None:
        assert differences(files, board) == {}

    in_any_order()


@MANY
@given(configs(own_lines, filter_lines), boards)
def test_after_the_edit_the_lab_finds_our_initramfs_and_the_old_kernel(files: Files, board: Board) -> None:
    """Where the product does not refuse, the second reader is sure that our lines count, and sees no other change."""
    try:
        changed = {**files, **product.edit(files, board, initramfs=OURS, cmdline=OUR_CMDLINE)}
    except product.UnclearError:
        return
    before, after = lab_claims(files, board, False), lab_claims(changed, board, False)
    assert str(after["initramfs"]).removeprefix("/") == f"{OURS} followkernel"
    assert str(after["cmdline"]).removeprefix("/") == OUR_CMDLINE
    assert (after["ramfsfile"], after["ramfsaddr"], after["auto_initramfs"]) == ("", "", "")
    for name in ("kernel_names", "device_tree", "os_prefix", "arm_64bit"):
        assert before.get(name) == after.get(name)


@pytest.mark.parametrize(
    "text",
    ["include gone.txt\n", "include config.txt\n", "# first\rkernel=a\r", "kernel=a\n\0"],
)
def test_what_the_product_takes_for_harmless_is_undefined(text: str) -> None:
    """The known differences. The product passes over an include of what is not there (and warns), as distributions that
    ship such a line do, and stops an endless one; a NUL or a carriage return alone it refuses in the edit only.
    """
    board = BOARDS[Model.THREE_B]
    assert differences({"config.txt": text}, board)["kernel_names"][1] == UNDEFINED


autoboot_lines = st.one_of(
    st.sampled_from([f"[{name}]" for name in ("all", "none", "tryboot", "pi3", "gpio4=1", "partition=2", "All", "")]),
    st.sampled_from(["\t[all]", "[all] ", "\ufeff[all]", " [tryboot]", "#[none]", "# " + "x" * 76, "tryboot_a_b=1"]),
    st.builds(
        lambda form, value: form.format(k="boot_partition", K="Boot_Partition", v=value),
        st.sampled_from(FORMS),
        st.sampled_from(("0", "1", "2", "06", "", "x")),
    ),
)


@MANY
@given(st.lists(autoboot_lines, max_size=9).map("\n".join), boards)
def test_they_agree_about_autoboot_txt(text: str, board: Board) -> None:
    try:
        claim = autoboot.boot_partition(text)
    except product.UnclearError:
        return
    assert (read_autoboot(text.encode(), board).text("boot_partition") or "") == claim


FILTER_LINES = (
    *(f"[{name}]" for name in FILTERS),
    *("[all]", "[all] ", "\t[all]", "\ufeff[all]", "[none]", "[tryboot]", "[gpio4=1]", "[0x1234]", "[pi6]", "[PI3]"),
    *("[boot_partition=1]", "[boot_partition=2]", "[boot_partition>1]", "[boot_count>1]", "[board_attributes&0x1]"),
    *("[board-type=0x8]", "[board-type=0x14]", "[board-type=0x01]", "[board-type=8]"),
)
SWEEP = (
    *(f"{first}\n{second}\nkernel=a\n" for first in FILTER_LINES for second in FILTER_LINES),
    *(f"[board-type={number:#x}]\nkernel=a\n" for number in range(0x20)),
    *("kernel=" + "a" * length for length in range(60, 100)),
    *(f"{key}=\n" for key in KEYS),
)
SOME = tuple(BOARDS[model] for model in (Model.B, Model.ZERO_2_W, Model.THREE_B, Model.CM3_PLUS, Model.CM4, Model.CM5))


def sweep() -> list[str]:
    return [text for text in SWEEP for board in SOME if differences({"config.txt": text}, board, False, 2)]


def test_they_agree_about_every_two_filters() -> None:
    assert sweep() == []


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (product, "MODEL_FILTERS", {**product.MODEL_FILTERS, "pi5": (Model.FIVE,)}),
        (product, "UNSETTLED", frozenset()),
        (product, "OLD_LINE_LIMIT", 79),
        (product, "BOOT_PARTITION", re.compile("boot_partition[=>]([0-9]+)")),
        (product, "MAY_BE_EMPTY", ("os_prefix", "kernel")),
        (lab, "SEEN_BY", {**lab.SEEN_BY, "pi0w": {Model.ZERO_W}}),
        (lab, "TYPE_NUMBERS", {**lab.TYPE_NUMBERS, Model.CM4: 0x15}),
        (lab, "CERTAIN_BYTES", 77),
        (lab, "DEFAULT_KERNELS", dict.fromkeys(lab.DEFAULT_KERNELS, "kernel.img")),
    ],
)
def test_a_misreading_on_either_side_is_found(
    module: object, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the comparison is able to fail, in a setting that both are certain of and where only one is."""
    monkeypatch.setattr(module, name, value)
    assert sweep()
