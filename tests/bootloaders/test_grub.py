# SPDX-License-Identifier: Apache-2.0
"""GRUB's one-shot entry: right text, right grubenv, and a refusal wherever GRUB could not clear it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.bootloaders import ImageBoot, find_boot_loader
from balena_migrate.bootloaders.grub import BOOT_LOADER
from balena_migrate.bootloaders.grub.entry import entry_text
from balena_migrate.bootloaders.grub.environment import armed, dump_environment, parse_environment
from balena_migrate.bootloaders.grub.files import CUSTOM_CFG, GRUB_CFG, GRUB_CFG_SIGNATURE, GRUBENV
from balena_migrate.bootloaders.grub.words import quote
from balena_migrate.core.errors import ImageError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.facts import BlockDevice, DiskFacts, Facts, Firmware
from balena_migrate.facts.boot import find_kernels
from balena_migrate.findings import Finding, Severity
from balena_migrate.settings import Config
from tests.support.corpus import corpus
from tests.support.facts import GRUB_CFG_TEXT, pc_facts, with_disks

EMPTY = dump_environment({}).decode()


def test_the_environment_block_survives_and_is_1024_bytes() -> None:
    variables = {"saved_entry": "a\\b", "next_entry": "x y"}
    block = dump_environment(variables)
    assert len(block) == 1024
    assert parse_environment(block.decode()) == variables


@pytest.mark.processes
def test_grubs_own_tool_reads_our_block(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(dump_environment({"next_entry": "balena-migrate", "saved_entry": "a\\b c"}))
    listed = subprocess.run(["grub-editenv", path, "list"], capture_output=True, text=True, check=True).stdout
    assert listed == "next_entry=balena-migrate\nsaved_entry=a\\b c\n"


@pytest.mark.parametrize("text", ["", "x" * 1024, EMPTY[:-1], EMPTY + "#"])
def test_a_damaged_environment_block_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="environment block"):
        parse_environment(text)


def test_variables_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        dump_environment({"long": "x" * 1024})


def test_the_grubenvs_of_the_collection() -> None:
    """Each is a whole block or is refused."""
    found = [p for p in corpus("grub").rglob("*") if "grubenv" in p.name and p.is_file()]
    good = 0
    for path in found:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        try:
            good += dump_environment(parse_environment(text)) is not None
        except ValueError:
            assert len(text) != 1024 or not text.startswith("# GRUB Environment Block\n") or "wrong" in str(path)
    assert good > 0


def test_the_entry_starts_the_running_kernel_with_our_initramfs() -> None:
    lines = [line.strip() for line in entry_text(Config(debug=True), pc_facts()).splitlines()]
    assert 'menuentry "balena-migrate" --unrestricted --id balena-migrate {' in lines
    assert "set root='hd0,msdos1'" in lines
    assert "search --no-floppy --fs-uuid --set=root 1111-root" in lines
    assert "if linux /boot/vmlinuz-6.1.0-test root=UUID=1111-root ro quiet debug panic=30; then" in lines
    assert "if initrd /boot/balena-migrate-initramfs; then" in lines


def test_a_boot_partition_of_its_own_has_no_boot_prefix() -> None:
    text = entry_text(Config(grub_boot_dev="hd1"), pc_facts(separate_boot=True))
    assert "if linux /vmlinuz-6.1.0-test " in text
    assert "--set=root 2222-boot" in text
    assert "set root='hd1,msdos2'" in text


def test_the_last_change_is_the_one_that_decides() -> None:
    first, last = BOOT_LOADER.boot_actions(Config(), pc_facts())
    assert (first.path, last.path) == (CUSTOM_CFG, GRUBENV)


def test_an_entry_of_the_user_stays() -> None:
    facts = pc_facts(files={CUSTOM_CFG: "menuentry mine {\n}\n"})
    action = BOOT_LOADER.boot_actions(Config(), facts)[0]
    assert b"menuentry mine" in action.content  # type: ignore[attr-defined]


def blockers(facts: Facts) -> list[str]:
    return [f.code for f in BOOT_LOADER.check(Config(), facts) if f.severity is Severity.BLOCKER]


def test_a_pc_with_everything_in_place_is_fine() -> None:
    facts = pc_facts()
    assert find_boot_loader(facts) is BOOT_LOADER
    assert blockers(facts) == []


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({GRUB_CFG: "set timeout=5"}, "grub-no-one-shot"),
        ({GRUB_CFG: 'if [ "${next_entry}" ]; then\n  set timeout=5\nfi'}, "grub-no-custom"),
        ({GRUBENV: "rubbish"}, "grubenv-damaged"),
    ],
)
def test_what_forbids_a_one_shot_is_a_blocker(files: dict[str, str], code: str) -> None:
    assert blockers(pc_facts(files=files)) == [code]


def test_a_missing_grubenv_is_a_blocker() -> None:
    facts = pc_facts()
    files = {path: text for path, text in facts.boot.files.items() if path != GRUBENV}
    assert blockers(replace(facts, boot=replace(facts.boot, files=files))) == ["grubenv-missing"]


@pytest.mark.parametrize(("fstype", "kind"), [("btrfs", "part"), ("ext4", "lvm"), ("ext4", "raid1"), ("f2fs", "part")])
def test_a_grubenv_that_grub_cannot_write_is_a_blocker(fstype: str, kind: str) -> None:
    facts = pc_facts()
    devices = tuple(replace(d, kind=kind) if d.name == "sda1" else d for d in facts.disks.devices)
    mounts = tuple(replace(m, fstype=fstype) for m in facts.disks.mounts)
    assert blockers(replace(facts, disks=DiskFacts(devices=devices, mounts=mounts))) == ["grubenv-not-writable"]


def test_an_image_that_brings_its_boot_loader_gets_none() -> None:
    image = ImageBoot(
        firmware=Firmware.BIOS, boot_start_bytes=4 * MIB, boot_files=("grub/grub.cfg",), has_boot_code=True
    )
    assets = BOOT_LOADER.assets(System("/"), image)
    assert (assets.files, assets.blocks) == ((), ())


def test_under_uefi_no_image_gets_boot_code_for_bios() -> None:
    image = ImageBoot(firmware=Firmware.UEFI, boot_start_bytes=4 * MIB, boot_files=("vmlinuz",), has_boot_code=False)
    assert BOOT_LOADER.asset_files(image) == ()
    assert BOOT_LOADER.assets(System("/nowhere"), image).blocks == ()


def test_an_image_without_any_way_to_boot_is_refused() -> None:
    with pytest.raises(ImageError, match="nor a kernel"):
        BOOT_LOADER.assets(
            System("/"), ImageBoot(firmware=Firmware.BIOS, boot_start_bytes=4 * MIB, boot_files=(), has_boot_code=False)
        )


@pytest.mark.processes
def test_an_old_image_gets_boot_code_and_grub_cfg() -> None:
    image = ImageBoot(firmware=Firmware.BIOS, boot_start_bytes=4 * MIB, boot_files=("vmlinuz",), has_boot_code=False)
    assets = BOOT_LOADER.assets(System("/"), image)
    boot, core = assets.blocks
    assert [file.path for file in assets.files] == ["grub/grub.cfg"]
    assert (boot.offset_bytes, len(boot.content), core.offset_bytes) == (0, 440, 512)
    assert 512 + len(core.content) < 1 * MIB
    with pytest.raises(ImageError, match="does not fit"):
        BOOT_LOADER.assets(System("/"), replace(image, boot_start_bytes=64 << 10))


def finding(facts: Facts, code: str) -> Finding:
    found = [finding for finding in BOOT_LOADER.check(Config(), facts) if finding.code == code]
    assert len(found) == 1
    return found[0]


def with_grub_cfg(more: str) -> Facts:
    return pc_facts(files={GRUB_CFG: f"{GRUB_CFG_TEXT}{more}\n"})


@pytest.mark.parametrize(
    "more",
    [
        "set default=2",
        "default='2'",
        'if [ -n "$x" ]; then\n  set default="${x}"\nfi',
        "if true; then set default=1; fi",
    ],
)
def test_a_default_that_is_set_later_is_a_blocker(more: str) -> None:
    assert blockers(with_grub_cfg(more)) == ["grub-default-set"]
    assert blockers(pc_facts(files={CUSTOM_CFG: more})) == ["grub-default-set"]


def test_a_default_that_is_set_elsewhere_is_not() -> None:
    """Before next_entry is read, in the other branches, in entries and functions, in comments."""
    facts = pc_facts(
        files={
            GRUB_CFG: "set default=1\nif a; then set default=3\n"
            + 'elif [ "${next_entry}" ]; then set default="${next_entry}"\nelse\nset default="0"\nfi\nset timeout=1\n'
            + "function f { set default=2; }\nmenuentry 'x' {\n  set default=2\n}\n# set default=2\n"
            + "set mydefault=2; echo default=2\nsource custom.cfg\n"
        }
    )
    assert blockers(facts) == []


def test_a_kernel_that_is_gone_is_a_blocker_and_both_are_named() -> None:
    facts = pc_facts()
    other = replace(facts, boot=replace(facts.boot, kernels=("/boot/vmlinuz-6.1.0-newer",)))
    assert blockers(other) == ["grub-kernel-missing"]
    cause = finding(other, "grub-kernel-missing").cause
    assert "/boot/vmlinuz-6.1.0-test" in cause
    assert "/boot/vmlinuz-6.1.0-newer" in cause


ENTRY = "menuentry 'Debian' {{\n\tlinux\t/boot/vmlinuz-6.1.0-test {} ro quiet\n\tinitrd /boot/initrd.img\n}}\n"


@pytest.mark.parametrize(
    ("roots", "changed"),
    [
        (["root=UUID=1111-root"], False),
        (["root=UUID=9999-gone"], True),
        (["root=UUID=9999-gone", "root=/dev/sda1"], False),
        (["root=UUID=9999-gone", "root=UUID=8888-other"], True),
        (["root=UUID=9999-gone", "root=/dev/mapper/vg-root"], False),
        (["root=UUID=9999-gone root=UUID=1111-root"], False),
        (["root=UUID=${uuid}"], False),
        (["root=/dev/disk/by-uuid/9999-gone"], True),
        ([""], False),
        ([], False),
    ],
)
def test_no_entry_starts_the_root_that_is_mounted(roots: list[str], changed: bool) -> None:
    """As where `tune2fs -U random` was meant for a copy, and hit the root itself."""
    facts = with_grub_cfg("set root='hd0,msdos1'\n" + "".join(ENTRY.format(root) for root in roots))
    assert blockers(facts) == (["grub-root-changed"] if changed else [])
    if changed:
        assert roots[0] in finding(facts, "grub-root-changed").cause


def test_a_kernel_file_counts_if_it_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    for name, content in {"vmlinuz-1": "x", "vmlinuz-2": "", "initrd.img-1": "x"}.items():
        (tmp_path / "boot" / name).write_text(content)
    assert find_kernels(System(tmp_path)) == ("/boot/vmlinuz-1",)


def with_devices(*more: BlockDevice) -> Facts:
    return with_disks(pc_facts(), *more)


CLONE = BlockDevice(
    name="sdb1", path="/dev/sdb1", kind="part", size_bytes=4000 * MIB, parents=("sdb",), fstype="ext4", uuid="1111-root"
)


def test_a_file_system_that_is_there_twice_is_a_blocker_and_both_are_named() -> None:
    facts = with_devices(CLONE)
    assert blockers(facts) == ["grub-uuid-twice"]
    cause = finding(facts, "grub-uuid-twice").cause
    assert "/dev/sda1 and /dev/sdb1 have the same UUID 1111-root" in cause
    assert "tune2fs -U random /dev/sdb1" in finding(facts, "grub-uuid-twice").remedy


def test_what_the_old_entries_search_counts_too() -> None:
    facts = with_devices(replace(CLONE, uuid="33-44"), replace(CLONE, name="sdc1", path="/dev/sdc1", uuid="33-44"))
    assert blockers(facts) == []
    searches = {**facts.boot.files, GRUB_CFG: f"{GRUB_CFG_TEXT}  search --no-floppy --fs-uuid --set=root 33-44\n"}
    assert blockers(replace(facts, boot=replace(facts.boot, files=searches))) == ["grub-uuid-twice"]


def test_a_copy_of_something_else_and_a_raids_member_are_none() -> None:
    stacked = replace(CLONE, name="md0", path="/dev/md0", kind="raid1", parents=("sda1",))
    member = replace(CLONE, fstype="linux_raid_member")
    assert blockers(with_devices(replace(CLONE, uuid="other"))) == []
    assert blockers(with_devices(stacked)) == []
    assert blockers(with_devices(member)) == []


@pytest.mark.parametrize("argument", ["a'b", 'a"b', "a\\b", "a\x01b"])
def test_an_argument_that_grub_cannot_hand_over_is_a_blocker(argument: str) -> None:
    facts = pc_facts()
    odd = replace(facts, boot=replace(facts.boot, kernel_command_line=f"ro quiet {argument}"))
    assert blockers(odd) == ["grub-argument"]
    assert repr(argument) in finding(odd, "grub-argument").cause


SUPERUSERS = 'set superusers="service"\n'


def test_a_password_is_told_and_does_not_prevent_the_migration() -> None:
    facts = with_grub_cfg(f"{SUPERUSERS}menuentry 'Old' --unrestricted {{\n}}")
    assert blockers(facts) == []
    assert "--unrestricted" in finding(facts, "grub-password").cause
    assert "grub-password" not in {f.code for f in BOOT_LOADER.check(Config(), with_grub_cfg("set superusers=''"))}


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        (f"{GRUB_CFG_TEXT}set timeout=-1", True),
        (GRUB_CFG_TEXT.replace("set timeout=5\n", ""), True),
        (f"{GRUB_CFG_TEXT}if [ $recordfail = 1 ]; then set timeout=-1; else set timeout=0; fi", False),
        (f"{GRUB_CFG_TEXT}if [ $recordfail = 1 ]; then set timeout=0; else set timeout=-1; fi", True),
        (f"{GRUB_CFG_TEXT}menuentry 'x' {{\n  set timeout=-1\n  read\n}}", False),
        (f"{GRUB_CFG_TEXT}read name", True),
        (f"{GRUB_CFG_TEXT}{SUPERUSERS}menuentry 'Old' {{\n}}", True),
        (f"{GRUB_CFG_TEXT}{SUPERUSERS}menuentry 'Old' --unrestricted {{\n}}\nmenuentry 'x' {{\n}}", False),
    ],
)
def test_a_grub_that_waits_for_somebody_at_every_start_is_a_blocker(text: str, waits: bool) -> None:
    assert blockers(pc_facts(files={GRUB_CFG: text})) == (["grub-waits"] if waits else [])


def test_a_grub_that_wants_signatures_is_a_blocker() -> None:
    enforced = dump_environment({"check_signatures": "enforce"}).decode()
    assert blockers(with_grub_cfg("set check_signatures=enforce")) == ["grub-signatures"]
    assert blockers(with_grub_cfg("set check_signatures=no")) == []
    assert blockers(pc_facts(files={GRUBENV: enforced})) == ["grub-signatures"]
    assert blockers(pc_facts(files={GRUB_CFG_SIGNATURE: "\x89"})) == ["grub-signatures"]


def test_an_entry_of_ours_that_is_still_there_is_a_blocker() -> None:
    facts = pc_facts()
    armed_again = pc_facts(files={CUSTOM_CFG: entry_text(Config(), facts)})
    assert blockers(armed_again) == ["grub-entry-ours"]


def test_what_earlier_starts_noted_is_left_out_of_the_block() -> None:
    noted = {"recordfail": "1", "initrdfail": "1", "prev_entry": "x", "saved_entry": "y", "prev_saved_entry": "z"}
    block = parse_environment(armed({**noted, "next_entry": "other"}).decode())
    assert block == {"saved_entry": "y", "prev_saved_entry": "z", "next_entry": "balena-migrate"}


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("root=UUID=1-2", "root=UUID=1-2"),
        ("memmap=64K$0x1", "'memmap=64K$0x1'"),
        ("a;b", "'a;b'"),
        (r"a\'b", r"'a'\''b'"),
        (r"a\"b", "'a\"b'"),
        (r"a\\b", r"'a\b'"),
        (r"a\x20b", r"'a\x20b'"),
        ('"dyndbg=file x +p"', "'dyndbg=file x +p'"),
        ('dyndbg="file x +p"', "'dyndbg=file x +p'"),
    ],
)
def test_an_argument_becomes_the_word_that_grub_makes_it_of(argument: str, word: str) -> None:
    assert quote(argument) == word
