# SPDX-License-Identifier: Apache-2.0
"""Every board is known by its revision code, or else by its device tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.bootloaders.raspberrypi.board import (
    Board,
    Chip,
    Model,
    decode_revision,
    find_board,
    other_name,
    parse_model,
)
from balena_migrate.checks import platform
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.facts import Facts, HardwareFacts
from balena_migrate.facts.hardware import parse_cpuinfo_model, parse_cpuinfo_revision, read_hardware
from balena_migrate.findings import Finding
from tests.support.corpus import corpus
from tests.support.facts import pi_facts
from tests.support.surveys import some_survey

OLD_CODES = {
    Model.B: ("0002", "0003", "0004", "0005", "0006", "000d", "000e", "000f"),
    Model.A: ("0007", "0008", "0009"),
    Model.B_PLUS: ("0010", "0013"),
    Model.CM1: ("0011", "0014"),
    Model.A_PLUS: ("0012", "0015"),
}

NEW_CODES = {
    (Model.A_PLUS, Chip.BCM2835): "900021",
    (Model.B_PLUS, Chip.BCM2835): "900032",
    (Model.CM1, Chip.BCM2835): "900061",
    (Model.ZERO, Chip.BCM2835): "900092 900093 920092 920093",
    (Model.ZERO_W, Chip.BCM2835): "9000c1",
    (Model.TWO_B, Chip.BCM2836): "a01040 a01041 a21041",
    (Model.TWO_B, Chip.BCM2837): "a02042 a22042",
    (Model.THREE_B, Chip.BCM2837): "a02082 a22082 a32082 a52082 a22083",
    (Model.THREE_B_PLUS, Chip.BCM2837): "a020d3 a020d4",
    (Model.THREE_A_PLUS, Chip.BCM2837): "9020e0 9020e1",
    (Model.CM3, Chip.BCM2837): "a020a0 a220a0",
    (Model.CM3_PLUS, Chip.BCM2837): "a02100",
    (Model.ZERO_2_W, Chip.BCM2837): "902120",
    (Model.FOUR_B, Chip.BCM2711): "a03111 b03111 b03112 b03114 b03115 c03111 c03112 c03114 c03115 d03114 d03115",
    (Model.FOUR_HUNDRED, Chip.BCM2711): "c03130",
    (Model.CM4, Chip.BCM2711): "a03140 b03140 c03140 d03140",
    (Model.CM4S, Chip.BCM2711): "a03150 b03150",
    (Model.FIVE, Chip.BCM2712): "b04170 b04171 c04170 d04170 d04171 e04171",
    (Model.CM5, Chip.BCM2712): "b04180 c04180 d04180",
    (Model.FIVE_HUNDRED, Chip.BCM2712): "d04190",
    (Model.CM5_LITE, Chip.BCM2712): "b041a0 c041a0 d041a0",
}
"""Codes in use, of the maker's table and newer ones."""
MEMORY_MIB = {"9": 512, "a": 1024, "b": 2048, "c": 4096, "d": 8192, "e": 16384}

PAST_BITS = (0, 1 << 24, 1 << 25, 1 << 26, 1 << 29, 1 << 30, 1 << 31, 3 << 24)
"""What a code may hold of the board's past: overvoltage in old firmware (bit 24), in new (25), one-time memory."""


def test_every_model_has_a_code_here() -> None:
    assert {*OLD_CODES, *(model for model, _ in NEW_CODES)} == set(Model)


@pytest.mark.parametrize("bits", PAST_BITS, ids=hex)
def test_every_revision_code_names_the_board_whatever_its_past(bits: int) -> None:
    for model, old in OLD_CODES.items():
        for code in old:
            board = decode_revision(f"{int(code, 16) | bits:x}")
            assert board is not None
            assert (board.model, board.chip) == (model, Chip.BCM2835), code
    for (model, chip), new in NEW_CODES.items():
        for code in new.split():
            memory_bytes = MEMORY_MIB[code[0]] * MIB
            expected = Board(model=model, chip=chip, memory_bytes=memory_bytes, revision=int(code[-1]))
            assert decode_revision(f"{int(code, 16) | bits:x}") == expected, code


@pytest.mark.parametrize(
    ("code", "memory_mib"), [("0002", 256), ("0006", 256), ("0007", 256), ("000d", 512), ("0010", 512), ("0012", 256)]
)
def test_an_old_code_names_its_memory(code: str, memory_mib: int) -> None:
    board = decode_revision(code)
    assert board is not None
    assert board.memory_bytes == memory_mib * MIB


@pytest.mark.parametrize(
    ("text", "chip", "revision"),
    [
        ("Raspberry Pi 4 Model B Rev 1.5", "brcm,bcm2711", 5),
        ("Raspberry Pi 5 Model B Rev 1.0", "brcm,bcm2712", 0),
        ("Raspberry Pi Model B rev2", "brcm,bcm2835", 0),
        ("Raspberry Pi 4 Model B", "brcm,bcm2711", 0),
    ],
)
def test_the_device_tree_names_the_revision(text: str, chip: str, revision: int) -> None:
    board = parse_model(text, (chip,))
    assert board is not None and board.revision == revision


@pytest.mark.parametrize("text", ["0xd04190", "D04190", "00d04190"])
def test_a_code_may_be_written_in_several_ways(text: str) -> None:
    board = decode_revision(text)
    assert board is not None
    assert board.model is Model.FIVE_HUNDRED


@pytest.mark.parametrize("code", ["", "0000", "0100", "020c", "0016", "zz", "a0f082", "a020b2", "1" * 9])
def test_other_codes_are_no_raspberry_pi(code: str) -> None:
    """Codes of other makers, of types and chips that nobody has seen, and what is no code."""
    assert decode_revision(code) is None


@pytest.mark.parametrize(
    ("text", "chip", "model"),
    [
        ("Raspberry Pi Model B Rev 2", "brcm,bcm2835", Model.B),
        ("Raspberry Pi Model B Plus Rev 1.2", "brcm,bcm2835", Model.B_PLUS),
        ("Raspberry Pi Zero Rev 1.3", "brcm,bcm2835", Model.ZERO),
        ("Raspberry Pi Zero", "brcm,bcm2835", Model.ZERO),
        ("Raspberry Pi 2 Model B", "brcm,bcm2836", Model.TWO_B),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "brcm,bcm2837", Model.THREE_B_PLUS),
        ("Raspberry Pi 3 Model B+", "brcm,bcm2837", Model.THREE_B_PLUS),
        ("Raspberry Pi Compute Module 3 IO board V3.0", "brcm,bcm2837", Model.CM3),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", "brcm,bcm2837", Model.CM3_PLUS),
        ("Raspberry Pi Zero 2 W Rev 1.0", "brcm,bcm2837", Model.ZERO_2_W),
        ("Raspberry Pi 4 Model B Rev 1.5", "brcm,bcm2711", Model.FOUR_B),
        ("Raspberry Pi 400 Rev 1.0", "brcm,bcm2711", Model.FOUR_HUNDRED),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "brcm,bcm2711", Model.CM4),
        ("Raspberry Pi 5 Model B Rev 1.1", "brcm,bcm2712", Model.FIVE),
        ("Raspberry Pi Compute Module 5 Lite Rev 1.0", "brcm,bcm2712", Model.CM5_LITE),
        ("Raspberry Pi Model A Rev 2", "brcm,bcm2835", Model.A),
        ("Raspberry Pi Model A Plus Rev 1.1", "brcm,bcm2835", Model.A_PLUS),
        ("Raspberry Pi Model A+", "brcm,bcm2835", Model.A_PLUS),
        ("Raspberry Pi Model B rev2", "brcm,bcm2835", Model.B),
        ("Raspberry Pi Zero W Rev 1.1", "brcm,bcm2835", Model.ZERO_W),
        ("Raspberry Pi Compute Module Rev 1.0", "brcm,bcm2835", Model.CM1),
        ("Raspberry Pi Compute Module IO board rev1", "brcm,bcm2835", Model.CM1),
        ("Raspberry Pi 3 Model B Rev 1.2", "brcm,bcm2837", Model.THREE_B),
        ("Raspberry Pi 3 Model A Plus Rev 1.0", "brcm,bcm2837", Model.THREE_A_PLUS),
        ("Raspberry Pi Compute Module 4S Rev 1.0", "brcm,bcm2711", Model.CM4S),
        ("Raspberry Pi Compute Module 4 IO Board", "brcm,bcm2711", Model.CM4),
        ("Raspberry Pi 500 Rev 1.0", "brcm,bcm2712", Model.FIVE_HUNDRED),
        ("Raspberry Pi 500 Plus Rev 1.0", "brcm,bcm2712", Model.FIVE_HUNDRED),
        ("Raspberry Pi 500+ Rev 1.0", "brcm,bcm2712", Model.FIVE_HUNDRED),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "brcm,bcm2712", Model.CM5),
    ],
)
def test_the_device_tree_names_the_board(text: str, chip: str, model: Model) -> None:
    board = parse_model(text, ("raspberrypi,some", chip))
    assert board is not None
    assert (board.model, f"brcm,{board.chip.lower()}") == (model, chip)


def test_the_code_says_more_than_the_device_tree() -> None:
    """A Pi 2 with the chip of a Pi 3 has the same name as one without."""
    hardware = HardwareFacts(
        machine="aarch64", model="Raspberry Pi 2 Model B Rev 1.2", compatible=("brcm,bcm2836",), revision="a22042"
    )
    board = find_board(hardware)
    assert board is not None
    assert board.chip is Chip.BCM2837


@pytest.mark.parametrize(
    ("model", "other"),
    [
        ("Raspberry Pi 3 Model B Rev 1.2", Model.THREE_B),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", None),
        ("Raspberry Pi", None),
    ],
)
def test_a_device_tree_of_another_model_is_noticed(model: str, other: Model | None) -> None:
    """The code counts: it is in the board, and the device tree was loaded from the card."""
    hardware = HardwareFacts(machine="aarch64", model=model, compatible=("brcm,bcm2837",), revision="a020d3")
    board, named = find_board(hardware), other_name(hardware)
    assert board is not None
    assert board.model is Model.THREE_B_PLUS
    assert (named.model if named else None) is other


def test_a_revision_code_alone_proves_nothing() -> None:
    """A tablet of another maker whose line says 0010, as a Pi 1 B+ would."""
    assert find_board(HardwareFacts(machine="armv7l", revision="0010")) is None
    assert find_board(HardwareFacts(machine="armv7l", model="BeagleBone Black", revision="0010")) is None


@pytest.mark.parametrize("revision", ["", "0000", "ffffffff"])
def test_where_there_is_no_code_the_device_tree_decides(revision: str) -> None:
    names = ("raspberrypi,5-model-b", "brcm,bcm2712")
    hardware = HardwareFacts(
        machine="aarch64", model="Raspberry Pi 5 Model B Rev 1.0", compatible=names, revision=revision
    )
    board = find_board(hardware)
    assert board is not None
    assert board.model is Model.FIVE


@pytest.mark.parametrize("text", ["Raspberry Pi", "Raspberry Pi 9 Model Z Rev 1.0", "Raspberry Pi Pico"])
def test_an_unknown_name_without_a_code_is_no_known_board(text: str) -> None:
    hardware = HardwareFacts(machine="aarch64", model=text, compatible=("brcm,bcm2712",))
    assert find_board(hardware) is None


def test_user_land_says_nothing_about_the_board() -> None:
    hardware = HardwareFacts(machine="aarch64", userland="armhf", model="Raspberry Pi 4 Model B", revision="c03111")
    board = find_board(hardware)
    assert board is not None
    assert board.model is Model.FOUR_B


EXPECTED = {
    "armv6-rev7-1cpu-cpuinfo": Model.B_PLUS,
    "armv7-rev4-4cpu-cpuinfo": Model.THREE_B,
    "cpuinfoArm7.txt": Model.FOUR_B,
    "linux_beagle_bone_arm.cpuinfo": Model.B_PLUS,  # a Raspberry Pi's, whatever its name
    "linux_raspberry_pi_model_b_arm.cpuinfo": Model.B,
}


def test_every_cpuinfo_of_the_collection_is_recognised_or_refused() -> None:
    """Recognised by its name, or refused with the reason that no device type is known for it."""
    found = {}
    for path in sorted(p for p in corpus("proc-cpuinfo").rglob("*") if p.is_file() and p.name != "SOURCES.txt"):
        text = path.read_text("utf-8", "surrogateescape")
        model, revision = parse_cpuinfo_model(text), parse_cpuinfo_revision(text)
        facts = pi_facts()
        facts = replace(facts, hardware=HardwareFacts(machine="armv7l", model=model, revision=revision))
        board, codes = find_board(facts.hardware), {finding.code for finding in platform_findings(facts)}
        assert ("hardware" in codes, "hardware-unknown" in codes) == (bool(board), not board), path
        if board:
            found[path.name] = board.model
    assert found == EXPECTED


def platform_findings(facts: Facts) -> Iterator[Finding]:
    yield from platform.check(some_survey(facts, image=None, kit_base_bytes=0))


def hardware_of(root: Path, **files: bytes) -> HardwareFacts:
    """What is gathered from these files of /proc; "__" stands for a slash."""
    for name, content in files.items():
        path = root / "proc" / name.replace("__", "/").replace("tree", "device-tree").replace("linux_", "linux,")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return read_hardware(System(root))


TREE = {
    "tree__model": b"Raspberry Pi 4 Model B Rev 1.1\0",
    "tree__compatible": b"raspberrypi,4-model-b\0brcm,bcm2711\0",
}
CODE = {"tree__system__linux_revision": bytes.fromhex("00c03111")}
CPUINFO = {"cpuinfo": b"processor\t: 0\nHardware\t: BCM2835\nRevision\t: c03111\nSerial\t\t: 1\n"}
BARE = {"cpuinfo": b"processor\t: 0\nCPU revision\t: 3\n"}


@pytest.mark.parametrize(
    ("files", "revision"),
    [
        ({**TREE, **CODE, **CPUINFO}, "c03111"),
        ({**TREE, **CODE, **BARE}, "c03111"),
        ({**TREE, **CODE}, "c03111"),
        ({**TREE, **BARE}, ""),
        (TREE, ""),
        (CPUINFO, "c03111"),
        ({**TREE, "tree__system__linux_revision": b"\0\xc0"}, ""),
    ],
    ids=["all", "cpuinfo says nothing", "no cpuinfo", "names alone", "no code", "cpuinfo alone", "torn code"],
)
def test_a_board_is_found_by_whatever_the_kernel_says(tmp_path: Path, files: dict[str, bytes], revision: str) -> None:
    hardware = hardware_of(tmp_path, **files)
    assert hardware.revision == revision
    board = find_board(hardware)
    assert board is not None
    assert (board.model, board.chip) == (Model.FOUR_B, Chip.BCM2711)


def test_cpuinfo_names_the_machine_where_there_is_no_device_tree(tmp_path: Path) -> None:
    old = "processor\t: 0\n\nHardware\t: BCM2708\nRevision\t: 000e\nSerial\t\t: 0000000012345678\n"
    new = "processor\t: 0\n\nRevision\t: d04170\nSerial\t\t: 1\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
    other = "Hardware\t: IMAPX200\nRevision\t: 0010\n"
    models = [parse_cpuinfo_model(text) for text in (old, new, other)]
    assert models == ["Raspberry Pi", "Raspberry Pi 5 Model B Rev 1.0", ""]
