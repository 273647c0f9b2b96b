# SPDX-License-Identifier: Apache-2.0
"""GRUB under UEFI: which /boot/grub the firmware's GRUB reads, and what is said where it is another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.bootloaders import find_boot_loader
from balena_migrate.bootloaders.grub import BOOT_LOADER
from balena_migrate.bootloaders.grub.entry import entry_text
from balena_migrate.bootloaders.grub.environment import dump_environment
from balena_migrate.bootloaders.grub.files import CUSTOM_CFG, GRUB2_CFG, GRUB_CFG, GRUBENV
from balena_migrate.bootloaders.grub.stub import Goal, find_goal, is_whole
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.facts import BlockDevice, EfiFacts, Facts, Firmware, FirmwareEntry, Mount
from balena_migrate.facts.boot import read_boot_files
from balena_migrate.findings import Finding, Severity
from balena_migrate.settings import Config
from tests.support.corpus import corpus
from tests.support.facts import GRUB_CFG_TEXT, pc_facts, with_disks

DEBIAN = "search.fs_uuid {} root hd0,gpt2 \nset prefix=($root)'{}'\nconfigfile $prefix/grub.cfg\n"
FEDORA = (
    "search --no-floppy --root-dev-only --fs-uuid --set=dev {}\nset prefix=($dev){}\n"
    "export $prefix\nconfigfile $prefix/grub.cfg\n"
)
WHOLE = "set timeout=5\nmenuentry 'Fedora' {\n  linuxefi /vmlinuz root=UUID=1 ro\n  initrdefi /initramfs.img\n}\n"
OURS = DEBIAN.format("1111-ROOT", "/boot/grub")
OTHER = DEBIAN.format("3333-other", "/boot/grub")
ESP = BlockDevice(
    name="sda9", path="/dev/sda9", kind="part", size_bytes=512 * MIB, parents=("sda",), fstype="vfat", uuid="AB-01"
)
SECOND = replace(ESP, name="sda8", path="/dev/sda8", fstype="ext4", uuid="3333-other", label="second")


def uefi_facts(
    stubs: Mapping[str, str],
    *,
    mounted: bool = True,
    without: tuple[str, ...] = (),
    more: Mapping[str, str] | None = None,
) -> Facts:
    """A PC with UEFI and a second installation; `stubs` are the texts of EFI/NAME/grub.cfg."""
    facts = pc_facts()
    mounts = [Mount(source="/dev/sda9", mount_point="/boot/efi", fstype="vfat")] if mounted else []
    files = {
        **facts.boot.files,
        **{f"/boot/efi/EFI/{name}/grub.cfg": text for name, text in stubs.items()},
        **(more or {}),
    }
    boot = replace(
        facts.boot, firmware=Firmware.UEFI, files={path: files[path] for path in files if path not in without}
    )
    devices = (replace(facts.disks.devices[0], table_type="gpt"), *facts.disks.devices[1:])
    disks = replace(facts.disks, devices=devices)
    return with_disks(replace(facts, boot=boot, disks=disks), ESP, SECOND, mounts=mounts)


def found(facts: Facts) -> dict[str, Finding]:
    return {finding.code: finding for finding in BOOT_LOADER.check(Config(), facts)}


def blockers(facts: Facts) -> list[str]:
    return [code for code, finding in found(facts).items() if finding.severity is Severity.BLOCKER]


def test_grub_starts_a_pc_with_uefi_too() -> None:
    facts = uefi_facts({"debian": OURS})
    assert find_boot_loader(facts) is BOOT_LOADER
    assert blockers(facts) == []
    assert found(facts)["grub-leads-here"].cause == "/boot/efi/EFI/debian/grub.cfg leads GRUB to /boot/grub"


def test_the_entry_has_a_gpt_as_its_fallback() -> None:
    text = entry_text(Config(), uefi_facts({"debian": OURS}))
    assert "set root='hd0,gpt1'" in text
    assert "insmod part_gpt" in text


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        (OURS, Goal(volume="1111-ROOT", path="/boot/grub/grub.cfg")),
        (FEDORA.format("77-88", "/grub2"), Goal(volume="77-88", path="/grub2/grub.cfg")),
        ("search --label --set=root boot\nconfigfile /grub/grub.cfg", Goal(volume="boot", path="/grub/grub.cfg")),
        ("search.fs_label boot dev\nconfigfile (${dev})/grub.cfg", Goal(volume="boot", path="/grub.cfg")),
        ("search -f /.disk/info\nsource /boot/grub/grub.cfg", Goal(volume="/.disk/info", path="/boot/grub/grub.cfg")),
        ("configfile (hd0,gpt2)/boot/grub/grub.cfg", None),
        ("search.fs_uuid\nconfigfile $prefix/grub.cfg", None),
        ("set x=1\n", None),
        ("configfile", None),
        ("", None),
        (WHOLE + OURS, None),
    ],
)
def test_where_a_stub_leads(text: str, goal: Goal | None) -> None:
    assert find_goal(text) == goal


@pytest.mark.parametrize(
    ("stub", "code"),
    [
        (OTHER, "grub-other-system"),
        (DEBIAN.format("1111-root", "/grub"), "grub-other-system"),
        (FEDORA.format("3333-other", "/grub2"), "grub-other-system"),
        ("search --label --set=root second\nconfigfile /boot/grub/grub.cfg", "grub-other-system"),
        (WHOLE, "grub-other-system"),
    ],
)
def test_a_stub_that_leads_to_another_system_is_a_blocker(stub: str, code: str) -> None:
    """As where a second Debian was installed: its GRUB starts this one by os-prober, and reads its own /boot/grub."""
    facts = uefi_facts({"debian": stub})
    assert blockers(facts) == [code]
    assert "/boot/efi/EFI/debian/grub.cfg" in found(facts)[code].cause
    assert "grub-install" in found(facts)[code].remedy


def test_a_separate_boot_has_a_stub_without_boot() -> None:
    facts = uefi_facts({"debian": DEBIAN.format("2222-boot", "/grub")})
    boot = replace(ESP, name="sda2", path="/dev/sda2", fstype="ext4", uuid="2222-boot")
    facts = with_disks(facts, boot, mounts=[Mount(source="/dev/sda2", mount_point="/boot", fstype="ext4")])
    assert "grub-leads-here" in found(facts)


def test_where_two_stubs_differ_the_firmware_decides_and_that_is_said() -> None:
    facts = uefi_facts({"debian": OURS, "ubuntu": OTHER})
    assert blockers(facts) == []
    assert "EFI/ubuntu/grub.cfg leads elsewhere" in found(facts)["grub-uncertain"].cause


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("\\EFI\\ubuntu\\shimx64.efi", "grub-other-system"),
        ("EFI\\debian\\grubx64.efi", "grub-leads-here"),
        ("EFI\\other\\grubx64.efi", "grub-uncertain"),
    ],
)
def test_where_two_stubs_differ_the_entry_that_started_the_device_decides(file: str, code: str) -> None:
    facts = uefi_facts({"debian": OURS, "ubuntu": OTHER})
    efi = EfiFacts(current=3, entries=(FirmwareEntry(number=3, label="x", partuuid="p", file=file),))
    assert {"grub-other-system", "grub-leads-here", "grub-uncertain"} & set(
        found(replace(facts, boot=replace(facts.boot, efi=efi)))
    ) == {code}


@pytest.mark.parametrize("gone", [DEBIAN.format("9999-gone", "/boot/grub"), "rubbish {"])
def test_a_stub_that_leads_nowhere_is_a_warning(gone: str) -> None:
    facts = uefi_facts({"BOOT": gone})
    assert blockers(facts) == []
    assert "leads to no file system" in found(facts)["grub-uncertain"].cause
    assert "grub-uncertain" not in found(uefi_facts({"BOOT": gone, "debian": OURS}))


def test_an_esp_that_is_not_mounted_is_a_warning_with_its_remedy() -> None:
    warned = found(uefi_facts({}, mounted=False))["grub-uncertain"]
    assert (warned.severity, "mount /boot/efi" in warned.remedy) == (Severity.WARNING, True)


def test_an_esp_without_any_stub_says_nothing() -> None:
    """GRUB without Secure Boot's signature has the place built in, and needs none."""
    codes = found(uefi_facts({}))
    assert "grub-uncertain" not in codes and "grub-leads-here" not in codes


def test_stubs_are_no_matter_under_bios() -> None:
    facts = uefi_facts({"debian": OTHER})
    assert blockers(replace(facts, boot=replace(facts.boot, firmware=Firmware.BIOS))) == []


@pytest.mark.parametrize("text", [{"/boot/efi/EFI/fedora/grub.cfg": WHOLE}, {GRUB2_CFG: "blscfg"}])
def test_a_configuration_that_is_elsewhere_is_named(text: dict[str, str]) -> None:
    facts = uefi_facts({}, without=(GRUB_CFG, GRUBENV), more=text)
    assert find_boot_loader(facts) is BOOT_LOADER
    assert blockers(facts) == ["grub-elsewhere"]
    assert next(iter(text)) in found(facts)["grub-elsewhere"].cause
    assert find_boot_loader(uefi_facts({}, without=(GRUB_CFG,))) is None


def test_an_esp_that_is_mounted_twice_is_read_once(tmp_path: Path) -> None:
    root = System(tmp_path)
    for point in ("boot/efi", "efi", "media"):
        folder = tmp_path / point / "EFI/debian"
        folder.mkdir(parents=True)
        (folder / "grub.cfg").write_text(OURS)
    disks = uefi_facts({}).disks
    twice = replace(
        disks,
        mounts=(
            *disks.mounts,
            replace(disks.mounts[-1], mount_point="/efi"),
            Mount(source="/dev/sdb1", mount_point="/media", fstype="vfat"),
        ),
    )
    files, _ = read_boot_files(root, BOOT_LOADER.files(twice), lambda files: BOOT_LOADER.named_files(twice, files))
    assert files == {"/efi/EFI/debian/grub.cfg": OURS}


@pytest.mark.parametrize(
    ("fstype", "kind", "named"),
    [("btrfs", "part", "btrfs"), ("ext4", "lvm", "lvm"), ("ext4", "raid1", "raid1"), ("zfs", "", "zfs")],
)
def test_a_grubenv_where_grub_cannot_write_is_named_with_a_remedy(fstype: str, kind: str, named: str) -> None:
    facts = uefi_facts({})
    mounts = tuple(replace(m, fstype=fstype) if m.mount_point == "/" else m for m in facts.disks.mounts)
    devices = tuple(replace(d, kind=kind) if d.name == "sda1" else d for d in facts.disks.devices)
    if fstype == "zfs":
        mounts = tuple(replace(m, source="rpool/ROOT/debian") if m.mount_point == "/" else m for m in mounts)
    finding = found(replace(facts, disks=replace(facts.disks, devices=devices, mounts=mounts)))["grubenv-not-writable"]
    assert named in finding.cause
    assert "/boot" in finding.remedy and "grub-install" in finding.remedy


def test_a_boot_folder_on_the_esp_itself_is_one_that_grub_can_write() -> None:
    """/boot is the ESP, as some put it: FAT, whose driver GRUB loads as well."""
    facts = uefi_facts({"debian": DEBIAN.format("AB-01", "/grub")}, mounted=False)
    facts = with_disks(facts, mounts=[Mount(source="/dev/sda9", mount_point="/boot", fstype="vfat")])
    assert blockers(facts) == []
    text = entry_text(Config(), facts)
    assert "insmod fat" in text
    assert "if linux /vmlinuz-6.1.0-test " in text


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        (None, "grubenv-missing"),
        ("", "grubenv-damaged"),
        (dump_environment({}).decode()[:-1], "grubenv-damaged"),
        ("#" * 1024, "grubenv-damaged"),
    ],
)
def test_a_grubenv_that_is_missing_or_damaged_has_a_remedy(environment: str | None, code: str) -> None:
    facts = uefi_facts({"debian": OURS}, without=(GRUBENV,) if environment is None else ())
    if environment is not None:
        facts = replace(facts, boot=replace(facts.boot, files={**facts.boot.files, GRUBENV: environment}))
    assert blockers(facts) == [code]
    assert found(facts)[code].remedy == "grub-editenv /boot/grub/grubenv create"


def test_the_change_is_the_same_two_files_as_under_bios() -> None:
    paths = [action.path for action in BOOT_LOADER.boot_actions(Config(), uefi_facts({"debian": OURS}))]
    assert paths == [CUSTOM_CFG, GRUBENV]


def test_the_configurations_of_the_collection() -> None:
    """Of those that were on an ESP each is a stub with a goal; the others start something."""
    paths = [path for path in corpus("grub").rglob("grub.cfg") if path.is_file()]
    texts = {path: path.read_bytes().decode("utf-8", "surrogateescape") for path in paths}
    goals = {path: find_goal(text) for path, text in texts.items()}
    assert [goal for path, goal in goals.items() if "EFI" in path.parts] == [
        Goal(volume="e8328184-226c-4e5e-9635-8142cc114051", path="/boot/grub/grub.cfg")
    ]
    assert all(is_whole(texts[path]) for path, goal in goals.items() if goal is None)
    assert GRUB_CFG_TEXT and find_goal(GRUB_CFG_TEXT) is None
