# SPDX-License-Identifier: Apache-2.0
"""What QEMU is started with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.workstation.lab.buses import Bus
from balena_migrate.workstation.lab.machines import Start
from balena_migrate.workstation.lab.machines.pc import Firmware, PcMachine
from balena_migrate.workstation.lab.machines.raspberrypi import machine
from balena_migrate.workstation.lab.machines.raspberrypi.machine import RASPI3B, PiMachine

START = Start(kernel="kernel8.img", initramfs=("one", "two"), device_tree="pi.dtb", command_line="root=/dev/mmcblk0p2")


class Partition:
    """The boot partition of a card: a file's content is its name."""

    def __init__(self, card: Path, start_bytes: int) -> None:
        pass

    def read(self, name: str) -> bytes:
        return name.encode()

    def extract(self, name: str, target: Path) -> None:
        target.write_text(name)


@pytest.fixture(autouse=True)
def firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FatImage", Partition)
    monkeypatch.setattr(machine, "find_boot_partition", lambda card: 4 << 20)
    monkeypatch.setattr(PiMachine, "next_boot", lambda self, disk: START)
    monkeypatch.setattr(PcMachine, "accelerator", "tcg")


def option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_a_pi_starts_what_the_firmware_finds_on_its_card(tmp_path: Path) -> None:
    argv = RASPI3B.argv([tmp_path / "card"], 1024, tmp_path)
    assert Path(option(argv, "-kernel")).read_text() == "kernel8.img"
    assert Path(option(argv, "-initrd")).read_bytes() == b"onetwo", "one behind the other, as in memory"
    assert option(argv, "-append") == "root=/dev/mmcblk0p2 maxcpus=1"


def test_drivers_that_are_built_in_are_there_before_what_the_firmware_loads(tmp_path: Path) -> None:
    """The kernel has them whatever that is, and an init that starts the old system, until another one replaces it."""
    (tmp_path / "drivers").write_bytes(b"drivers")
    built_in = replace(RASPI3B, built_in=tmp_path / "drivers")
    assert (
        Path(option(built_in.argv([tmp_path / "card"], 1024, tmp_path), "-initrd")).read_bytes() == b"drivers\0onetwo"
    )


def test_a_pi_with_less_memory_keeps_its_board_and_gives_the_kernel_less(tmp_path: Path) -> None:
    argv = RASPI3B.argv([tmp_path / "card"], 512, tmp_path)
    assert option(argv, "-m") == "1024M"
    assert option(argv, "-append").endswith(" mem=512M")


def test_a_pi_cannot_have_more_memory_than_its_board(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="1024 MiB of memory; 2048 MiB is not possible"):
        RASPI3B.argv([tmp_path / "card"], 2048, tmp_path)


def test_a_pc_has_its_drives_in_their_order(tmp_path: Path) -> None:
    argv = PcMachine(kernel=tmp_path / "vmlinuz").argv([tmp_path / "a", tmp_path / "b"], 512, tmp_path)
    devices = [value for value in argv if value.startswith("ide-hd")]
    assert devices == [
        "ide-hd,bus=ide.0,drive=disk0,serial=LAB0001,bootindex=1",
        "ide-hd,bus=ide.1,drive=disk1,serial=LAB0002,bootindex=2",
    ]
    assert option(argv, "-m") == "512M" and option(argv, "-smp") == "1"


def test_uefi_has_an_order_of_its_own_and_its_variables_beside_the_boot_disk(tmp_path: Path) -> None:
    machine = PcMachine(kernel=tmp_path / "vmlinuz", firmware=Firmware.UEFI)
    argv = machine.argv([tmp_path / "a"], 512, tmp_path)
    assert "ide-hd,bus=ide.0,drive=disk0,serial=LAB0001" in argv
    assert f"if=pflash,unit=1,format=raw,file={tmp_path}/variables.fd" in argv


def test_the_boot_disk_may_come_behind_another_one(tmp_path: Path) -> None:
    """The firmware starts from it all the same."""
    machine = PcMachine(kernel=tmp_path / "vmlinuz", boot_disk_last=True)
    argv = machine.argv([tmp_path / "boot", tmp_path / "other"], 512, tmp_path)
    devices = [value for value in argv if value.startswith("ide-hd")]
    assert devices == [
        "ide-hd,bus=ide.0,drive=disk1,serial=LAB0002,bootindex=2",
        "ide-hd,bus=ide.1,drive=disk0,serial=LAB0001,bootindex=1",
    ]


@pytest.mark.parametrize(
    ("bus", "disk"),
    [
        (Bus.NVME, "nvme,drive=disk0,serial=LAB0001,bootindex=1"),
        (Bus.VIRTIO, "virtio-blk-pci,drive=disk0,serial=LAB0001,bootindex=1"),
        (Bus.USB, "usb-storage,bus=usb.0,port=1,drive=disk0,serial=LAB0001,bootindex=1"),
        (Bus.MMC, "sd-card,drive=disk0"),
    ],
)
def test_a_pcs_disk_hangs_on_the_bus_that_the_scenario_names(tmp_path: Path, bus: Bus, disk: str) -> None:
    argv = PcMachine(kernel=tmp_path / "vmlinuz", bus=bus).argv([tmp_path / "disk"], 512, tmp_path)
    assert disk in argv and not any(value.startswith("ide-hd") for value in argv)
