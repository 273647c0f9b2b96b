# SPDX-License-Identifier: Apache-2.0
"""The boot change on a Raspberry Pi: found wherever the boot partition is, certain, and taken back byte for byte."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from balena_migrate.bootloaders import BootAssets, ImageBoot, find_boot_loader
from balena_migrate.bootloaders.raspberrypi.boot_partition import FILTER_KNOWN_S, boot_mount
from balena_migrate.bootloaders.raspberrypi.change import OUR_CMDLINE, RESTART_S
from balena_migrate.bootloaders.raspberrypi.config_txt import INCLUDED, UnclearError
from balena_migrate.bootloaders.raspberrypi.firmware import BOOT_LOADER, FILES
from balena_migrate.core.changes import take_back
from balena_migrate.core.paths import INITRAMFS_NAME
from balena_migrate.core.system import System
from balena_migrate.devices import device_types, device_types_for
from balena_migrate.facts import Facts, Firmware
from balena_migrate.facts.boot import read_boot_files
from balena_migrate.facts.root_argument import names_root
from balena_migrate.findings import Severity
from balena_migrate.settings import Config
from tests.support.corpus import corpus
from tests.support.raspberrypi import CMDLINE, facts

CONFIG = Config(image_name="balena.img")


BLOCKER = Severity.BLOCKER


def pi(files: Mapping[str, str], mounts: dict[str, str] | None = None, **more: Any) -> Facts:
    """A Raspberry Pi with these files on its boot partition, and plain ones else."""
    inside = {"config.txt": "", "cmdline.txt": CMDLINE, "new/state": "good", **files}
    return facts({f"/boot/{name}": text for name, text in inside.items()}, mounts, **more)


def with_boot(found: Facts, **boot: Any) -> Facts:
    return replace(found, boot=replace(found.boot, **boot))


def codes(found: Facts, severity: Severity) -> set[str]:
    return {finding.code for finding in BOOT_LOADER.check(CONFIG, found) if finding.severity is severity}


@pytest.mark.parametrize(
    ("config", "changed", "refused"),
    [
        ("", "/boot/kernel7.img", True),
        ("arm_64bit=1", "/boot/KERNEL8.IMG", True),
        ("kernel=vmlinuz", "/boot/vmlinuz", True),
        ("os_prefix=new/", "/boot/new/kernel7.img", True),
        ("[gpio4=1]\nkernel=a\n", "/boot/a", True),
        ("[gpio4=1]\narm_64bit=1\n", "/boot/kernel8.img", True),
        ("[gpio4=1]\nos_prefix=new/\n", "/boot/new/kernel7.img", True),
        ("[gpio4=1]\ncmdline=other.txt\n", "/boot/kernel8.img", False),
        ("", "/boot/kernel8.img", False),
        ("", "/boot/overlays/kernel7.img", False),
        ("", "/elsewhere/kernel7.img", False),
    ],
)
def test_a_kernel_that_was_replaced_since_the_start(config: str, changed: str, refused: bool) -> None:
    found = facts({"/boot/config.txt": config, "/boot/cmdline.txt": CMDLINE})
    found = replace(found, boot=replace(found.boot, changed=(changed,)))
    assert codes(found, Severity.BLOCKER) == ({"pi-kernel-replaced"} if refused else set())


def test_the_firmware_is_the_boot_loader_of_every_raspberry_pi() -> None:
    assert find_boot_loader(facts({})) is BOOT_LOADER


@pytest.mark.parametrize(
    ("mounts", "files", "folder"),
    [
        ({"/": "mmcblk0p2", "/boot": "mmcblk0p1"}, ["/boot/config.txt"], "/boot"),
        ({"/": "mmcblk0p2", "/boot/firmware": "mmcblk0p1"}, ["/boot/firmware/config.txt"], "/boot/firmware"),
        ({"/": "mmcblk0p7", "/mnt/r": "mmcblk0p1", "/boot": "mmcblk0p6"}, ["/boot/config.txt"], "/boot"),
        (
            {"/": "mmcblk0p2", "/media/usb": "sda1", "/flash": "mmcblk0p1"},
            ["/media/usb/config.txt", "/flash/config.txt"],
            "/flash",
        ),
    ],
    ids=["old layout", "new layout", "NOOBS", "another disk has one too"],
)
def test_the_boot_partition_is_found_by_its_config_txt(mounts: dict[str, str], files: list[str], folder: str) -> None:
    found = facts({**dict.fromkeys(files, ""), f"{folder}/cmdline.txt": CMDLINE}, mounts)
    assert BOOT_LOADER.boot_folder(found) == folder
    assert codes(found, Severity.BLOCKER) == set()


def test_its_text_files_are_asked_for_and_no_file_with_a_password() -> None:
    patterns = BOOT_LOADER.files(facts({}).disks)
    assert "/boot/config.txt" in patterns
    assert not any(Path(name).match(pattern) for name in ("userconf.txt", "wpa_supplicant.conf") for pattern in FILES)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (facts({"/boot/config.txt": ""}, revision="0100"), "pi-unknown"),
        (facts({}), "pi-no-boot-partition"),
        (facts({"/boot/config.txt": ""}, {"/": "mmcblk0p2"}), "pi-no-boot-partition"),
        (pi({}, options=("ro",)), "pi-boot-read-only"),
        (pi({"config.txt": "boot_ramdisk=1\n"}), "pi-boot-ramdisk"),
        (pi({"config.txt": "[gpio4=1]\nboot_ramdisk=1\n"}), "pi-boot-ramdisk"),
        (pi({"config.txt": "kernel=uboot_rpi_3.bin\n"}), "pi-other-loader"),
        (pi({"config.txt": "[pi3]\nkernel=u-boot.bin\n"}), "pi-other-loader"),
        (pi({"config.txt": "kernel=RPI_UEFI.fd\n"}), "pi-other-loader"),
        (pi({"config.txt": "initramfs balena-migrate-initramfs\n"}), "pi-config-ours"),
        (pi({"config.txt": "a=1\n\0"}), "pi-config-unclear"),
        (facts({}, unreadable={"/boot/config.txt": "Input/output error"}), "pi-boot-unreadable"),
        (pi({}, unreadable={"/boot/more.txt": "Input/output error"}), "pi-boot-unreadable"),
        (facts({"/boot/config.txt": ""}), "pi-cmdline-unclear"),
        (pi({"cmdline.txt": "a\0root=x"}), "pi-cmdline-unclear"),
        (pi({"cmdline.txt": "root=/dev/sda9 rootwait\n"}), "pi-root-changed"),
        (pi({"config.txt": "cmdline=other.txt\n", "other.txt": "root=/dev/sda9\n"}), "pi-root-changed"),
        (pi({"config.txt": "cmdline=gone.txt\n"}), "pi-cmdline-unclear"),
        (pi({"new/state": "unknown\n"}), "pi-trial-pending"),
        (pi({"new/state": "trying"}), "pi-trial-pending"),
        (pi({"new/state": ""}), "pi-trial-pending"),
        (with_boot(pi({}), in_tryboot=True), "pi-in-tryboot"),
        *(
            (with_boot(pi({}, revision="c03114"), fat_files=(f"/boot/{name}",)), "pi-eeprom-update")
            for name in ("recovery.bin", "PIEEPROM.UPD", "pieeprom.sig", "vl805.sig")
        ),
        (
            facts(
                {"/boot/config.txt": "", "/boot/firmware/config.txt": ""},
                {"/": "mmcblk0p2", "/boot": "mmcblk0p6", "/boot/firmware": "mmcblk0p1"},
            ),
            "pi-boot-ambiguous",
        ),
    ],
)
def test_what_stands_in_the_way_is_said(found: Facts, code: str) -> None:
    assert codes(found, Severity.BLOCKER) == {code}


def test_what_has_been_decided_stands_in_nobodys_way() -> None:
    """A recovery.000 is what an update leaves; a board without an EEPROM reads no update of it."""
    done, other = "/boot/recovery.000", "/boot/recovery.bin"
    assert codes(with_boot(pi({}, revision="c03114"), fat_files=(done, "/elsewhere/recovery.bin")), BLOCKER) == set()
    assert codes(with_boot(pi({}, revision="a02082"), fat_files=(other,)), BLOCKER) == set()
    for text, warnings in (("good\n", set()), ("bad", {"pi-trial-failed"})):
        found = pi({"new/state": text})
        assert (codes(found, BLOCKER), codes(found, Severity.WARNING)) == (set(), warnings)


@pytest.mark.parametrize(
    ("argument", "table", "verdict"),
    [
        ("root=PARTUUID=17FF17C7-02", "17ff17c7", True),
        ("root=PARTUUID=17ff17c7-02", "0badcafe", False),
        ("root=PARTUUID=17ff17c7-01", "17ff17c7", False),
        ("root=PARTUUID=17ff17c7-02", "", None),
        ("root=UUID=root", "", True),
        ("root=UUID=another", "", False),
        ("root=LABEL=writable", "", None),
        ("root=/dev/mmcblk0p2", "", True),
        ("root=/dev/mmcblk0p1", "", False),
        ("root=/dev/sdz1", "", None),
        ("root=/dev/disk/by-label/writable", "", None),
        ("root=b302", "", None),
    ],
)
def test_the_root_of_the_next_start_is_looked_up(argument: str, table: str, verdict: bool | None) -> None:
    """Where it cannot be, it is right if the running kernel was started with it."""
    found = pi({"cmdline.txt": f"quiet root=/dev/first {argument} rootwait\n"})
    disks = [
        replace(device, table_id=table, table_type="dos") if device.name == "mmcblk0" else device
        for device in found.disks.devices
    ]
    found = replace(found, disks=replace(found.disks, devices=tuple(disks)))
    same = with_boot(found, kernel_command_line=f"coherent_pool=1M quiet {argument}")
    assert names_root(found.disks, argument.removeprefix("root=")) is verdict
    assert codes(found, BLOCKER) == ({"pi-root-changed"} if verdict is not True else set())
    assert codes(same, BLOCKER) == ({"pi-root-changed"} if verdict is False else set())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[gpio4=1]\nkernel=a\n", "pi-kernel-unclear"),
        ("include gone.txt\n", "pi-include-missing"),
    ],
)
def test_what_is_not_certain_but_does_not_matter_is_a_warning(text: str, code: str) -> None:
    found = pi({"config.txt": text})
    assert codes(found, BLOCKER) == set()
    assert codes(found, Severity.WARNING) == {code}


@pytest.mark.parametrize(
    "text",
    [
        "[gpio4=1]\ncmdline=a\n",
        "cmdline other.txt\n",
        "os_prefix=slot-A/\n",
        "[boot_partition=2]\ncmdline=other.txt\n",
        "[boot_count>1]\ncmdline=other.txt\n",
        "[board_attributes&0x1]\nos_prefix=slot-A/\n",
    ],
)
def test_what_config_txt_leaves_open_the_running_kernel_knows_as_long_as_nothing_has_changed(text: str) -> None:
    other = "root=/dev/sda9\n"
    found = pi({"config.txt": text, "other.txt": other, "slot-a/cmdline.txt": other})
    assert codes(found, BLOCKER) == set()
    written = {action.path: action.content for action in BOOT_LOADER.boot_actions(CONFIG, found)}  # type: ignore[attr-defined]
    assert written[f"/boot/{OUR_CMDLINE}"].decode().startswith(CMDLINE.strip())
    for changed in ("/boot/CONFIG.TXT", "/boot/slot-A/cmdline.txt"):
        assert codes(with_boot(found, changed=(changed,)), BLOCKER) == {"pi-cmdline-unclear"}
    neither = with_boot(found, kernel_command_line="root=/dev/sdb1")
    assert "pi-cmdline-unclear" in codes(neither, BLOCKER)


def test_where_no_command_line_is_certain_nothing_is_written() -> None:
    """Without panic= and root= of our own, a start that fails would have no way back."""
    with pytest.raises(UnclearError):
        BOOT_LOADER.boot_actions(CONFIG, facts({"/boot/config.txt": ""}))


@pytest.mark.parametrize(
    ("partition", "table", "built_s", "root"),
    [
        (1, "dos", FILTER_KNOWN_S, "a"),
        (6, "dos", FILTER_KNOWN_S, "b"),
        (1, "dos", FILTER_KNOWN_S - 1, ""),
        (1, "dos", 0, ""),
        (1, "gpt", FILTER_KNOWN_S, ""),
    ],
)
def test_the_section_of_a_partition_counts_where_the_firmware_knows_it(
    partition: int, table: str, built_s: int, root: str
) -> None:
    """Else the running kernel's own cmdline.txt does. On a GPT, perhaps a hybrid one, the number is not known."""
    text = "[boot_partition=1]\ncmdline=a.txt\n[boot_partition=6]\ncmdline=b.txt\n"
    files = {"config.txt": text, "a.txt": "root=/dev/a", "b.txt": "root=/dev/b"}
    mounts = {"/": "mmcblk0p2", "/mnt": "mmcblk0p1", "/boot": f"mmcblk0p{partition}"}
    found = pi(files, mounts, revision="d04170")
    devices = tuple(replace(device, table_type=table) for device in found.disks.devices)
    found = replace(with_boot(found, bootloader_built_s=built_s), disks=replace(found.disks, devices=devices))
    causes = [finding.cause for finding in BOOT_LOADER.check(CONFIG, found) if finding.severity is BLOCKER]
    assert [f"root=/dev/{root}" in cause for cause in causes] == [True] * bool(root)


@pytest.mark.parametrize(
    ("autoboot", "number", "refused"),
    [
        ("[all]\nboot_partition=6\n", 6, False),
        ("[all]\ntryboot_a_b=1\nboot_partition=6\n[tryboot]\nboot_partition=1\n", 6, False),
        ("[all]\nboot_partition=5\n", 6, True),
        ("boot_partition = 6\n", 6, True),
        ("boot_partition=0\n", 1, False),
        ("boot_partition=0\n", 6, True),
        ("[all]\n", 6, False),
        ("[none]\nboot_partition=1\n[all]\nboot_partition=6\n", 6, False),
        # A Raspberry Pi 3, but the file knows [all], [none] and [tryboot] only.
        ("[pi3]\nboot_partition=6\n", 6, True),
        ("boot_partition=6\n[pi4]\nboot_partition=5\n", 6, True),
        ("[board-type=0x08]\nboot_partition=6\n", 6, True),
        ("[pi4]\nboot_partition=5\n[all]\nboot_partition=6\n", 6, False),
        ("[pi4]\n[tryboot]\nboot_partition=5\n[all]\nboot_partition=6\n", 6, False),
        ("boot_partition=6\n" + "#" * 495, 6, False),
        ("boot_partition=6\n" + "#" * 496, 6, True),
        ("boot_partition=6\n\0", 6, True),
    ],
)
def test_autoboot_txt_has_to_choose_the_partition_that_is_changed(autoboot: str, number: int, refused: bool) -> None:
    """Else the firmware reads another config.txt than the one that we change, and stage 2 never starts."""
    mounts = {"/": "mmcblk0p7", "/boot": f"mmcblk0p{number}", "/mnt": f"mmcblk0p{7 - number}"}
    folder = "/boot" if number == 1 else "/mnt"
    found = pi({}, mounts)
    found.boot.files[f"{folder}/autoboot.txt"] = autoboot
    assert codes(found, BLOCKER) == ({"pi-autoboot"} if refused else set())


@pytest.mark.parametrize(("number", "refused"), [("1", True), ("0", False)])
def test_a_number_in_autoboot_txt_says_nothing_certain_on_a_gpt(number: str, refused: bool) -> None:
    """A hybrid one has two numbers for a partition; 0 is the first FAT partition in any case."""
    found = pi({"autoboot.txt": f"boot_partition={number}\n"})
    devices = tuple(replace(device, table_type="gpt") for device in found.disks.devices)
    found = replace(found, disks=replace(found.disks, devices=devices))
    findings = [finding for finding in BOOT_LOADER.check(CONFIG, found) if finding.severity is BLOCKER]
    assert [finding.code for finding in findings] == ["pi-autoboot"] * refused
    assert all("may not be /dev/mmcblk0p1" in finding.cause for finding in findings)


@pytest.mark.parametrize(
    ("table", "chosen", "code"), [("gpt", 6, "pi-two-systems"), ("dos", 5, "pi-two-systems"), ("dos", 6, "")]
)
def test_a_disk_with_two_systems(table: str, chosen: int, code: str) -> None:
    """As images of rpi-image-gen have them, on a GPT (image-rota): the next start may be the other one's."""
    found = pi({}, {"/": "mmcblk0p7", "/boot": "mmcblk0p6", "/bootfs": "mmcblk0p1"})
    autoboot = f"[all]\ntryboot_a_b=1\nboot_partition={chosen}\n[tryboot]\nboot_partition=8\n"
    found.boot.files["/bootfs/autoboot.txt"] = autoboot
    devices = tuple(replace(device, table_type=table) for device in found.disks.devices)
    found = replace(found, disks=replace(found.disks, devices=devices))
    assert codes(found, BLOCKER) == ({code} if code else set())


@pytest.mark.parametrize(("label", "refused"), [("BOOTCONFIG", True), ("", True), ("RECOVERY", False)])
def test_an_autoboot_txt_where_nobody_looked(label: str, refused: bool) -> None:
    """That of NOOBS is on a partition that no system mounts, and what it starts is what runs."""
    found = pi({}, {"/": "mmcblk0p7", "/boot": "mmcblk0p6"})
    devices = tuple(replace(d, label=label) if d.name == "mmcblk0p1" else d for d in found.disks.devices)
    found = replace(found, disks=replace(found.disks, devices=devices))
    findings = [finding for finding in BOOT_LOADER.check(CONFIG, found) if finding.severity is BLOCKER]
    assert [finding.code for finding in findings] == ["pi-autoboot"] * refused
    if refused:
        assert "mount -o ro /dev/mmcblk0p1 /mnt" in findings[0].remedy


def test_autoboot_txt_of_another_disk_says_nothing() -> None:
    mounts = {"/": "mmcblk0p2", "/boot": "mmcblk0p1", "/media/usb": "sda1"}
    found = pi({}, mounts)
    found.boot.files["/media/usb/autoboot.txt"] = "boot_partition=3\n"
    assert codes(found, BLOCKER) == set()


def test_nothing_is_installed_after_the_flash() -> None:
    """The image's own boot partition boots the board: no files, no boot code, and no program that would make them."""
    image = ImageBoot(
        firmware=Firmware.RASPBERRY_PI, boot_start_bytes=4 << 20, boot_files=("config.txt",), has_boot_code=False
    )
    assert BOOT_LOADER.assets(System("/none"), image) == BootAssets()
    assert BOOT_LOADER.programs == ()


def test_two_names_of_the_board_are_a_warning() -> None:
    found = facts({"/boot/config.txt": "", "/boot/cmdline.txt": CMDLINE})
    hardware = replace(found.hardware, model="Raspberry Pi 4 Model B Rev 1.1", compatible=("brcm,bcm2711",))
    found = replace(found, hardware=hardware)
    assert codes(found, Severity.WARNING) == {"pi-two-names"}
    assert {device.slug for device in device_types_for(found)} == {"raspberrypi3", "raspberrypi3-64"}


def test_a_boot_partition_that_is_not_mounted_is_named() -> None:
    found = next(iter(BOOT_LOADER.check(CONFIG, facts({}, {"/": "mmcblk0p2"}))))
    assert "not mounted: /dev/mmcblk0p1, /dev/mmcblk0p6" in found.cause
    assert "/etc/fstab" in found.remedy


def test_a_folder_of_a_fat_file_system_that_is_bound_elsewhere_is_not_the_boot_partition() -> None:
    found = facts({"/boot/config.txt": "", "/srv/config.txt": ""}, {"/": "mmcblk0p2", "/srv": "mmcblk0p6"})
    mounts = tuple(replace(mount, root="/sub" if mount.mount_point == "/srv" else "/") for mount in found.disks.mounts)
    assert boot_mount(replace(found, disks=replace(found.disks, mounts=mounts))) is None


def test_the_files_that_config_txt_names_are_read_from_its_own_partition(tmp_path: Path) -> None:
    """Whatever their names; a circle ends, and nothing outside is read."""
    text = "include a.txt\ninclude ../etc/secret\nos_prefix=new/\ninclude gone.txt\n"
    files = {"config.txt": text, "a.txt": "include b.txt\n", "b.txt": "include a.txt\n", "new/cmdline.txt": CMDLINE}
    write(tmp_path, {f"/boot/{name}": content for name, content in files.items()})
    write(tmp_path, {"/etc/secret": "x", "/boot/userconf.txt": "pi:hash"})
    disks = facts({}).disks
    named = partial(BOOT_LOADER.named_files, disks)
    found, unreadable = read_boot_files(System(tmp_path), BOOT_LOADER.files(disks), named)
    assert found == {f"/boot/{name}": content for name, content in files.items()}
    assert unreadable == {}


def test_a_file_that_cannot_be_read_is_kept_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path, {"/boot/config.txt": "include folder\n"})
    (tmp_path / "boot/folder").mkdir()
    disks = facts({}).disks
    found = read_boot_files(System(tmp_path), BOOT_LOADER.files(disks), partial(BOOT_LOADER.named_files, disks))
    assert found == ({"/boot/config.txt": "include folder\n"}, {"/boot/folder": "Is a directory"})


def test_a_folder_that_cannot_be_listed_is_a_finding_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a FAT whose folder is damaged: what it holds is not known, so nothing is changed."""
    write(tmp_path, {"/boot/config.txt": ""})

    def glob(pattern: str) -> tuple[PurePosixPath, ...]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    system, disks = System(tmp_path), facts({}).disks
    monkeypatch.setattr(system, "glob", glob)
    files, unreadable = read_boot_files(system, BOOT_LOADER.files(disks), partial(BOOT_LOADER.named_files, disks))
    assert files == {}
    findings = list(BOOT_LOADER.check(CONFIG, facts(files, unreadable=unreadable)))
    assert {finding.code for finding in findings} == {"pi-boot-unreadable"}
    assert "/boot/config.txt on /dev/mmcblk0p1 cannot be read: Input/output error" in {f.cause for f in findings}
    assert all("fsck -a /dev/mmcblk0p1" in finding.remedy for finding in findings)


REVISIONS = ("000e", "9000c1", "a01041", "a22042", "a02082", "902120", "c03111", "b03140", "d04170")
REASONS = {"pi-other-loader", "pi-boot-ramdisk", "pi-root-changed", "pi-cmdline-unclear"}
"""Why files of the collection are refused: also because the root is another partition than here, and because config.txt
names a command line that is not with it."""


def test_every_config_and_command_line_of_the_collection_is_changed_and_brought_back_or_refused(tmp_path: Path) -> None:
    """On a real folder, by the actions that stage 1 takes; each config.txt with the command lines in turn."""
    paths = sorted(path for path in corpus("rpi-boot").rglob("*") if path.is_file() and path.name != "SOURCES.txt")
    configs = [path for path in paths if "cmdline" not in path.name]
    lines = [path for path in paths if "cmdline" in path.name]
    refused, changed = set(), 0
    for number, path in enumerate(configs):
        content = {"config.txt": path.read_bytes(), "cmdline.txt": lines[number % len(lines)].read_bytes()}
        files = {f"/boot/{name}": data.decode("utf-8", "surrogateescape") for name, data in content.items()}
        for place, revision in enumerate(REVISIONS):
            found = facts(files, revision=revision)
            found = replace(found, boot=replace(found.boot, kernel_command_line=files["/boot/cmdline.txt"]))
            if blockers := codes(found, Severity.BLOCKER):
                refused |= blockers
            elif place == number % len(REVISIONS):
                write(tmp_path, files)
                apply_and_take_back(tmp_path, found, content)
                changed += 1
    assert refused <= REASONS
    assert len(lines) > 60
    assert changed > 100


def apply_and_take_back(root: Path, found: Facts, content: dict[str, bytes]) -> None:
    system, folder = System(root), root / "boot"
    actions = BOOT_LOADER.boot_actions(CONFIG, found)
    records = [action.capture(system) for action in actions]
    for action in actions:
        action.apply(system)
    arguments = BOOT_LOADER.arguments(found)
    assert arguments is not None
    written = (folder / OUR_CMDLINE).read_text("utf-8", "surrogateescape")
    assert written == " ".join((*arguments.kept, "panic=30\n"))
    every = content["cmdline.txt"].split(b"\n")[0].decode("utf-8", "surrogateescape").split()
    assert len(arguments.kept) + len(arguments.left_out) == len(every)
    assert f"initramfs {INITRAMFS_NAME} followkernel".encode() in (folder / "config.txt").read_bytes().replace(
        b" /", b" "
    )
    for record in reversed(records):
        take_back(system, record)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "files",
    [
        {"config.txt": "kernel=a", "cmdline.txt": CMDLINE},
        {"config.txt": "include usercfg.txt\r\n[pi4]\r\n", "usercfg.txt": "initramfs a\r\n", "cmdline.txt": CMDLINE},
        {"config.txt": "\udcff\n\n", "cmdline.txt": "one\ntwo\n", OUR_CMDLINE: "left over"},
    ],
)
def test_the_change_is_taken_back_byte_for_byte(tmp_path: Path, files: dict[str, str]) -> None:
    """config.txt is written last and taken back first; all bytes and names are as before."""
    named = {f"/boot/{name}": text for name, text in files.items()}
    write(tmp_path, named)
    before = {path.name: path.read_bytes() for path in (tmp_path / "boot").iterdir()}
    system = System(tmp_path)
    actions = BOOT_LOADER.boot_actions(CONFIG, facts(named))
    assert [action.path for action in actions][-1] == "/boot/config.txt"
    records = [action.capture(system) for action in actions]
    for action in actions:
        action.apply(system)
    assert (tmp_path / "boot/cmdline.txt").read_bytes() == before["cmdline.txt"]
    assert (tmp_path / "boot/config.txt").read_bytes() != before["config.txt"]
    for record in reversed(records):
        take_back(system, record)
    assert {path.name: path.read_bytes() for path in (tmp_path / "boot").iterdir()} == before


@pytest.mark.parametrize(("debug", "end"), [(False, "panic=30\n"), (True, "debug panic=30\n")])
def test_stage_2_gets_a_command_line_of_its_own(debug: bool, end: str) -> None:
    found = facts({"/boot/config.txt": "cmdline=mine-cmd.txt\n", "/boot/mine-cmd.txt": CMDLINE})
    actions = BOOT_LOADER.boot_actions(Config(image_name="x", debug=debug), found)
    written = {action.path: action.content for action in actions}  # type: ignore[attr-defined]
    assert written[f"/boot/{OUR_CMDLINE}"].decode() == CMDLINE.rstrip("\n") + " " + end
    assert written["/boot/config.txt"].endswith(f"cmdline={OUR_CMDLINE}\n".encode())


def test_what_would_not_start_stage_2_stays_out_of_its_command_line() -> None:
    """By the table of all boot loaders; the others keep their order, and what only the firmware adds is not there."""
    words = "console=tty1 initrd=0x01f00000 root=PARTUUID=1-02 panic=0 init=/usr/lib/raspi-config/init_resize.sh quiet"
    found = pi({"cmdline.txt": f"{words} \r\nsecond line\n"})
    written = {action.path: action.content for action in BOOT_LOADER.boot_actions(CONFIG, found)}  # type: ignore[attr-defined]
    assert written[f"/boot/{OUR_CMDLINE}"] == b"console=tty1 root=PARTUUID=1-02 quiet panic=30\n"
    arguments = BOOT_LOADER.arguments(found)
    assert arguments is not None
    assert [item.argument.partition("=")[0] for item in arguments.left_out] == ["initrd", "panic", "init"]
    assert arguments.changes_old_system
    assert BOOT_LOADER.arguments(facts({"/boot/config.txt": ""})) is None
    assert BOOT_LOADER.arguments(facts({})) is None


def test_firmware_with_a_one_shot_start_gets_a_file_of_its_own() -> None:
    """config.txt stays as it is, and only the reboot with the argument starts stage 2."""
    found = facts({"/boot/config.txt": "kernel=a\n", "/boot/cmdline.txt": CMDLINE}, tryboot=True)
    actions = BOOT_LOADER.boot_actions(CONFIG, found)
    assert [action.path for action in actions] == [f"/boot/{OUR_CMDLINE}", "/boot/tryboot.txt"]
    assert BOOT_LOADER.one_shot(found)
    assert BOOT_LOADER.reboot_argument(found) == "0 tryboot"


@pytest.mark.parametrize(
    "files",
    [
        {"/boot/config.txt": "", "/boot/autoboot.txt": "[all]\ntryboot_a_b=1\nboot_partition=1\n"},
        {"/boot/config.txt": "include more.txt\n", "/boot/more.txt": "include config.txt\n"},
        {"/boot/config.txt": "os_prefix=current/\n[tryboot]\nos_prefix=new/\n"},
    ],
)
def test_where_the_one_shot_start_would_not_do_config_txt_is_changed(files: dict[str, str]) -> None:
    """autoboot.txt gives tryboot another meaning, config.txt would be included by tryboot.txt, and a section for it
    starts another system."""
    found = facts({**files, "/boot/cmdline.txt": CMDLINE}, tryboot=True)
    assert BOOT_LOADER.boot_actions(CONFIG, found)[-1].path == "/boot/config.txt"
    assert not BOOT_LOADER.one_shot(found)
    assert BOOT_LOADER.reboot_argument(found) == ""


def test_an_included_file_stays_and_its_copy_is_for_the_one_start() -> None:
    found = pi({"config.txt": "include more.txt\n", "more.txt": "auto_initramfs=1\n"}, tryboot=True)
    paths = [action.path for action in BOOT_LOADER.boot_actions(CONFIG, found)]
    assert paths == [f"/boot/{OUR_CMDLINE}", f"/boot/{INCLUDED.format(1)}", "/boot/tryboot.txt"]


@pytest.mark.parametrize(
    ("revision", "built_s", "tryboot", "words"),
    [
        ("d04170", RESTART_S, True, "tryboot counts once"),
        ("a02082", 0, True, "tryboot counts once"),
        ("a02082", 0, False, "it is not documented what this board does; at worst it stops"),
        ("c03114", RESTART_S, False, "it is not documented what this board does; at worst it stops"),
        (
            "d04170",
            RESTART_S,
            False,
            "(boot loader of 2026-04-14) tries the disk's other partitions, and restarts",
        ),
        (
            "d04170",
            RESTART_S - 1,
            False,
            "this board stops, at each start (its boot loader of 2026-04-13 is",
        ),
        ("d04170", 0, False, "this board may stop, at each start (the date of its boot loader is unknown)"),
    ],
)
def test_what_happens_where_our_initramfs_cannot_be_loaded_is_said(
    revision: str, built_s: int, tryboot: bool, words: str
) -> None:
    said = BOOT_LOADER.if_not_loaded(with_boot(pi({}, revision=revision, tryboot=tryboot), bootloader_built_s=built_s))
    assert words in said
    assert ("tryboot is not used: firmware, kernel or init do not support it." in said) != tryboot
    assert ("If stage 2 does not start from it, init restores config.txt" in said) != tryboot
    assert ("or stage 2 does not start from it, the start after that" in said) == tryboot


PIBOOT = """[all]
os_prefix=current/
kernel=vmlinuz
cmdline=cmdline.txt
initramfs initrd.img followkernel
[tryboot]
os_prefix=new/
"""


def test_a_system_that_tries_its_kernels_first_is_migrated_while_none_is_on_trial() -> None:
    """Ubuntu since 25.10: tryboot is its own, and its command line lies in the folder that was found good."""
    files = {
        "config.txt": PIBOOT,
        "autoboot.txt": "[all]\ntryboot_a_b=1\n",
        "current/cmdline.txt": CMDLINE,
        "current/state": "good\n",
        "new/cmdline.txt": "root=LABEL=another\n",
        "new/state": "bad\n",
    }
    found = facts({f"/boot/{name}": text for name, text in files.items()}, tryboot=True)
    assert (codes(found, BLOCKER), codes(found, Severity.WARNING)) == (set(), {"pi-trial-failed"})
    written = {action.path: action.content for action in BOOT_LOADER.boot_actions(CONFIG, found)}  # type: ignore[attr-defined]
    ours = f"[all]\ninitramfs /{INITRAMFS_NAME} followkernel\ncmdline=/{OUR_CMDLINE}\n"
    assert written["/boot/config.txt"].decode().endswith(ours)
    assert written[f"/boot/{OUR_CMDLINE}"].decode() == f"{CMDLINE.strip()} panic=30\n"
    assert "autoboot.txt gives it another meaning" in BOOT_LOADER.if_not_loaded(found)


def test_behind_noobs_there_is_no_one_shot_start() -> None:
    """Partition 0 is the first one, where NOOBS is: it knows nothing of a tryboot.txt on the sixth."""
    noobs = pi({}, {"/": "mmcblk0p7", "/boot": "mmcblk0p6"}, tryboot=True)
    assert not BOOT_LOADER.one_shot(noobs)
    assert BOOT_LOADER.boot_actions(CONFIG, noobs)[-1].path == "/boot/config.txt"


def test_without_a_one_shot_start_any_reboot_starts_stage_2() -> None:
    assert not BOOT_LOADER.one_shot(pi({}))
    assert BOOT_LOADER.reboot_argument(pi({})) == ""


def test_a_second_fat_file_system_is_not_taken_for_the_boot_partition() -> None:
    found = facts({"/boot/config.txt": ""}, {"/": "mmcblk0p2", "/media/usb": "sda1", "/boot": "mmcblk0p1"})
    mount = boot_mount(found)
    assert mount is not None
    assert mount.source == "/dev/mmcblk0p1"


TYPES = {
    "0002 0008 000e 0010 0011 0015 900021 900032 900061 920093 9000c1": {"raspberry-pi"},
    "a01040 a21041 a02042 a22042 2a22042": {"raspberry-pi2"},
    "a02082 a020d3 9020e0 a020a0 a02100 2a02082 1a020d3": {"raspberrypi3", "raspberrypi3-64"},
    "902120": {"raspberrypi0-2w-64"},
    "a03111 d03115": {"raspberrypi4-64"},
    "c03130": {"raspberrypi4-64", "raspberrypi400-64"},
    "b03140": {"raspberrypi4-64", "raspberrypicm4-ioboard"},
    "b03150": {"raspberrypi4-64"},
    "d04170 e04171 d04180 d04190 b041a0": {"raspberrypi5"},
    "0100 0 a020b2": set(),
}


@pytest.mark.parametrize(("revisions", "slugs"), TYPES.items(), ids=TYPES.keys())
@pytest.mark.parametrize(("machine", "userland"), [("aarch64", "armhf"), ("aarch64", "arm64"), ("armv7l", "armhf")])
def test_each_board_has_its_device_types(revisions: str, slugs: set[str], machine: str, userland: str) -> None:
    """Whatever the kernel and the user land: a 64-bit kernel under 32-bit programs is normal."""
    for revision in revisions.split():
        found = facts({}, revision=revision)
        found = replace(found, hardware=replace(found.hardware, machine=machine, userland=userland))
        assert {device.slug for device in device_types_for(found)} == slugs, revision


TAGS = {
    "raspberry-pi1": "raspberry-pi",
    "raspberrypi1": "raspberry-pi",
    "raspberrypi": "raspberry-pi",
    "raspberry-pi": "raspberry-pi",
    "raspberry-pi2": "raspberry-pi2",
    "raspberrypi2": "raspberry-pi2",
    **{name: name for name in ("raspberrypi3", "raspberrypi3-64", "raspberrypi0-2w-64", "raspberrypi4-64")},
    **{name: name for name in ("raspberrypi400-64", "raspberrypicm4-ioboard", "raspberrypi5")},
}


@pytest.mark.parametrize(("tag", "slug"), TAGS.items())
def test_the_names_of_images_are_known(tag: str, slug: str) -> None:
    """Those of the first description, and today's."""
    found = [device.slug for device in device_types() if tag in (*device.names, *device.image_tags)]
    assert found == [slug]


def test_slugs_and_aliases_are_those_of_the_collection() -> None:
    """The contracts are balena's own list; each Raspberry Pi type here is one of them, and every plain one is here."""
    folder = corpus("balena") / "balena-io+contracts/contracts/hw.device-type"
    contracts = [json.loads(path.read_text()) for path in sorted(folder.glob("raspberry*/contract.json"))]
    theirs = {contract["slug"]: tuple(contract.get("aliases", ())) for contract in contracts}
    other_makers = {"raspberrypi4-unipi-neuron", "raspberrypi4-edatec-sensing"}
    ours = {device.slug: device.aliases for device in device_types() if device.slug.startswith("raspberry")}
    assert ours == {slug: aliases for slug, aliases in theirs.items() if slug not in other_makers}
