"""Every board is known by its revision code, or else by its device tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from balena_migrate.facts import HardwareFacts
from balena_migrate.facts.hardware import parse_cpuinfo_model, parse_cpuinfo_revision
from balena_migrate.pi_board import MIB, Board, Chip, Model, decode_revision, find_board, parse_model
from tests.corpus import corpus


@pytest.mark.parametrize(
    ("code", "model", "chip", "memory_mib"),
    [
        ("0002", Model.B, Chip.BCM2835, 256),
        ("000e", Model.B, Chip.BCM2835, 512),
        ("0010", Model.B_PLUS, Chip.BCM2835, 512),
        ("0011", Model.CM1, Chip.BCM2835, 512),
        ("0015", Model.A_PLUS, Chip.BCM2835, 256),
        ("1000010", Model.B_PLUS, Chip.BCM2835, 512),
        ("900093", Model.ZERO, Chip.BCM2835, 512),
        ("9000c1", Model.ZERO_W, Chip.BCM2835, 512),
        ("a01041", Model.TWO_B, Chip.BCM2836, 1024),
        ("1a01040", Model.TWO_B, Chip.BCM2836, 1024),
        ("a22042", Model.TWO_B, Chip.BCM2837, 1024),
        ("a02082", Model.THREE_B, Chip.BCM2837, 1024),
        ("2a02082", Model.THREE_B, Chip.BCM2837, 1024),
        ("a020d3", Model.THREE_B_PLUS, Chip.BCM2837, 1024),
        ("9020e0", Model.THREE_A_PLUS, Chip.BCM2837, 512),
        ("a020a0", Model.CM3, Chip.BCM2837, 1024),
        ("a02100", Model.CM3_PLUS, Chip.BCM2837, 1024),
        ("902120", Model.ZERO_2_W, Chip.BCM2837, 512),
        ("c03111", Model.FOUR_B, Chip.BCM2711, 4096),
        ("c03130", Model.FOUR_HUNDRED, Chip.BCM2711, 4096),
        ("b03140", Model.CM4, Chip.BCM2711, 2048),
        ("d04170", Model.FIVE, Chip.BCM2712, 8192),
        ("0xd04190", Model.FIVE_HUNDRED, Chip.BCM2712, 8192),
        ("d04180", Model.CM5, Chip.BCM2712, 8192),
    ],
)
def test_a_revision_code_names_the_board(code: str, model: Model, chip: Chip, memory_mib: int) -> None:
    assert decode_revision(code) == Board(model=model, chip=chip, memory_bytes=memory_mib * MIB)


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


def test_a_revision_code_alone_proves_nothing() -> None:
    """A tablet of another maker whose line says 0010, as a Pi 1 B+ would."""
    assert find_board(HardwareFacts(machine="armv7l", revision="0010")) is None
    assert find_board(HardwareFacts(machine="armv7l", model="BeagleBone Black", revision="0010")) is None


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
    found = {}
    for path in sorted(p for p in corpus("proc-cpuinfo").rglob("*") if p.is_file() and p.name != "SOURCES.txt"):
        text = path.read_text("utf-8", "surrogateescape")
        model, revision = parse_cpuinfo_model(text), parse_cpuinfo_revision(text)
        board = find_board(HardwareFacts(machine="arm", model=model, revision=revision))
        if board:
            found[path.name] = board.model
    assert found == EXPECTED


def test_cpuinfo_names_the_machine_where_there_is_no_device_tree(tmp_path: Path) -> None:
    old = "processor\t: 0\n\nHardware\t: BCM2708\nRevision\t: 000e\nSerial\t\t: 0000000012345678\n"
    new = "processor\t: 0\n\nRevision\t: d04170\nSerial\t\t: 1\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
    other = "Hardware\t: IMAPX200\nRevision\t: 0010\n"
    models = [parse_cpuinfo_model(text) for text in (old, new, other)]
    assert models == ["Raspberry Pi", "Raspberry Pi 5 Model B Rev 1.0", ""]
