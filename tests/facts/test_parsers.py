# SPDX-License-Identifier: Apache-2.0
"""The parsers of facts, on texts as kernels and programs write them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from balena_migrate.core.memory import parse_meminfo
from balena_migrate.core.system import System
from balena_migrate.facts import BlockDevice, BootFacts, DiskFacts, HardwareFacts, Mount, OsFacts
from balena_migrate.facts.boot import find_changed, knows_tryboot, read_boot
from balena_migrate.facts.disks import parse_lsblk
from balena_migrate.facts.hardware import parse_cpuinfo_long_mode, parse_cpuinfo_revision, parse_device_tree_strings
from balena_migrate.facts.os import parse_os_release, read_os
from tests.support.corpus import corpus


def test_os_release_with_every_kind_of_quotes() -> None:
    facts = parse_os_release('NAME=\'Debian\'\nID=debian\nVERSION_ID="12"\nPRETTY_NAME="a \\"b\\""\n# ID=x\nbad line\n')
    assert (facts.id, facts.version_id, facts.pretty_name) == ("debian", "12", 'a "b"')


def test_raspberry_pi_os_has_a_mark_of_its_own(tmp_path: Path) -> None:
    """A 64-bit one, in which os-release is Debian's."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    assert read_os(System(tmp_path)) == OsFacts(id="debian", version_id="12")
    (tmp_path / "etc/rpi-issue").write_text("Raspberry Pi reference 2024-11-19\nGenerated using pi-gen, stage4\n")
    marked = OsFacts(id="debian", version_id="12", rpi_issue="Raspberry Pi reference 2024-11-19")
    assert read_os(System(tmp_path)) == marked


def test_every_os_release_of_the_collection_is_read() -> None:
    files = [path for path in corpus("os-release").rglob("*") if path.is_file() and path.name != "SOURCES.txt"]
    ids = {parse_os_release(path.read_text("utf-8", "surrogateescape")).id for path in files}
    assert {"debian", "ubuntu", "raspbian", "fedora"} <= ids


def test_memory_is_in_bytes() -> None:
    new = parse_meminfo("MemTotal:  1024 kB\nMemFree: 1 kB\nMemAvailable:   512 kB\n")
    assert (new.total_bytes, new.available_bytes) == (1 << 20, 512 << 10)


def test_a_processor_with_a_64_bit_mode() -> None:
    """The whole word: clflush_lm is not lm, nor is lahf_lm."""
    assert parse_cpuinfo_long_mode("processor\t: 0\nflags\t\t: fpu sse2 lm lahf_lm\nbugs\t: x\n")
    assert not parse_cpuinfo_long_mode("processor\t: 0\nflags\t\t: fpu nx lahf_lm\nbugs\t: lm\n")
    assert not parse_cpuinfo_long_mode("Features\t: half thumb lm\n")


def test_the_processors_of_the_collection() -> None:
    paths = [path for path in corpus("proc-cpuinfo").rglob("*") if path.is_file() and "x86_64" in path.name]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in paths]
    assert [parse_cpuinfo_long_mode(text) for text in texts if "\nflags" in text].count(False) == 0
    assert len(paths) > 3


def test_revision_and_device_tree() -> None:
    assert parse_cpuinfo_revision("Hardware\t: BCM2835\nRevision\t: A02082\nSerial\t: 00\n") == "a02082"
    assert parse_cpuinfo_revision("processor : 0\n") == ""
    assert parse_device_tree_strings(b"raspberrypi,3-model-b\0brcm,bcm2837\0") == (
        "raspberrypi,3-model-b",
        "brcm,bcm2837",
    )


def disk(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "path": f"/dev/{name}", "type": "disk", "size": 1000, "log-sec": 512, **more}


def test_lsblk_tree_becomes_devices_with_parents() -> None:
    shared = {"name": "md0", "type": "raid1", "size": 500, "fstype": "ext4"}
    tree = {
        "blockdevices": [
            disk(
                "sda", ptuuid="abc", pttype="dos", children=[disk("sda1", type="part", start=2048, children=[shared])]
            ),
            disk("sdb", ro=True, children=[disk("sdb1", type="part", children=[shared])]),
        ]
    }
    devices = {device.name: device for device in parse_lsblk(json.dumps(tree))}
    assert devices["md0"].parents == ("sda1", "sdb1")
    assert devices["sda1"].start_bytes == 2048 * 512
    assert (devices["sda"].table_id, devices["sdb"].read_only) == ("abc", True)


def device(name: str, kind: str = "part", parents: tuple[str, ...] = ()) -> BlockDevice:
    return BlockDevice(name=name, path=f"/dev/{name}", kind=kind, size_bytes=1, parents=parents)


def test_the_disks_below_a_path_are_found_through_everything() -> None:
    facts = DiskFacts(
        devices=(
            device("sda", "disk"),
            device("sdb", "disk"),
            device("sda1", parents=("sda",)),
            device("sdb1", parents=("sdb",)),
            device("md0", "raid1", ("sda1", "sdb1")),
            device("root", "crypt", ("md0",)),
        ),
        mounts=(
            Mount(source="/dev/root", mount_point="/", fstype="ext4"),
            Mount(source="/dev/sda1", mount_point="/boot", fstype="vfat"),
        ),
    )
    assert [d.name for d in facts.disks_below("/")] == ["sda", "sdb"]
    assert [d.name for d in facts.disks_below("/boot/grub")] == ["sda"]
    assert facts.find_mount("/bootleg") == facts.mounts[0]


@pytest.mark.parametrize(
    ("release", "known"),
    [
        ("6.6.31+rpt-rpi-v8", True),
        ("6.1.0-rpi7-rpi-v8", True),
        ("5.15.84-v8+", True),
        ("5.15.0-1012-raspi", True),
        ("6.1.0-50-arm64", False),
        ("5.10.0-v8-custom", False),
    ],
)
def test_tryboot_needs_firmware_kernel_and_init_that_know_it(tmp_path: Path, release: str, known: bool) -> None:
    system = System(tmp_path)
    assert not knows_tryboot(system, release)
    flag = tmp_path / "proc/device-tree/chosen/bootloader/tryboot"
    flag.parent.mkdir(parents=True)
    flag.write_bytes(bytes(4))
    assert not knows_tryboot(system, release)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert knows_tryboot(system, release) is known


@pytest.mark.parametrize(("tryboot", "in_tryboot"), [(None, False), (0, False), (1, True)])
def test_what_the_boot_loader_in_the_eeprom_says_of_itself(
    tmp_path: Path, tryboot: int | None, in_tryboot: bool
) -> None:
    """Numbers of 32 bits; nothing on boards without it."""
    folder = tmp_path / "proc/device-tree/chosen/bootloader"
    folder.mkdir(parents=True)
    if tryboot is not None:
        (folder / "tryboot").write_bytes(tryboot.to_bytes(4, "big"))
        (folder / "build-timestamp").write_bytes((1741564800).to_bytes(4, "big"))
    found = boot_facts(tmp_path)
    assert (found.in_tryboot, found.bootloader_built_s) == (in_tryboot, 0 if tryboot is None else 1741564800)


def test_the_files_in_the_root_of_each_fat_are_named(tmp_path: Path) -> None:
    for name in ("boot/Recovery.bin", "boot/overlays/a.dtbo", "else/pieeprom.upd", "recovery.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    mounts = [
        Mount(source="/dev/sda1", mount_point="/boot", fstype="vfat"),
        Mount(source="/dev/sda1", mount_point="/else", fstype="vfat", root="/folder"),
        Mount(source="/dev/sda2", mount_point="/", fstype="ext4"),
    ]
    assert boot_facts(tmp_path, *mounts).fat_files == ("/boot/Recovery.bin",)


def boot_facts(root: Path, *mounts: Mount) -> BootFacts:
    disks = DiskFacts(devices=(), mounts=mounts)
    return read_boot(System(root), HardwareFacts(machine="aarch64"), disks, (), lambda files: ())


def test_files_that_were_changed_since_the_start(tmp_path: Path) -> None:
    now_s = time.time()
    started_s = now_s - time.clock_gettime(time.CLOCK_BOOTTIME)
    times = {"new.img": now_s - 0.001, "new/kernel.img": started_s + 1, "old.img": started_s - 1, "future": now_s + 60}
    for name, time_s in times.items():
        file = tmp_path / "boot" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (time_s, time_s))
    (tmp_path / "boot/lost").symlink_to("nowhere")
    mounts = (
        Mount(source="/dev/sda1", mount_point="/boot", fstype="vfat"),
        Mount(source="/dev/sda1", mount_point="/", fstype="ext4"),
    )
    found = find_changed(System(tmp_path), DiskFacts(devices=(), mounts=mounts))
    assert found == ("/boot/new.img", "/boot/new/kernel.img")
