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
from balena_migrate.bootloaders.grub.environment import dump_environment, parse_environment
from balena_migrate.bootloaders.grub.files import CUSTOM_CFG, GRUB_CFG, GRUBENV
from balena_migrate.core.errors import ImageError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.facts import DiskFacts, Facts, Firmware
from balena_migrate.findings import Severity
from balena_migrate.settings import Config
from tests.support.corpus import corpus
from tests.support.facts import pc_facts

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


def test_grub_is_not_taken_for_a_uefi_pcs_boot_loader_yet() -> None:
    facts = pc_facts()
    assert find_boot_loader(replace(facts, boot=replace(facts.boot, firmware=Firmware.UEFI))) is None


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
    image = ImageBoot(boot_start_bytes=4 * MIB, boot_files=("grub/grub.cfg",), has_boot_code=True)
    assets = BOOT_LOADER.assets(System("/"), image)
    assert (assets.files, assets.blocks) == ((), ())


def test_an_image_without_any_way_to_boot_is_refused() -> None:
    with pytest.raises(ImageError, match="nor a kernel"):
        BOOT_LOADER.assets(System("/"), ImageBoot(boot_start_bytes=4 * MIB, boot_files=(), has_boot_code=False))


@pytest.mark.processes
def test_an_old_image_gets_boot_code_and_grub_cfg() -> None:
    image = ImageBoot(boot_start_bytes=4 * MIB, boot_files=("vmlinuz",), has_boot_code=False)
    assets = BOOT_LOADER.assets(System("/"), image)
    boot, core = assets.blocks
    assert [file.path for file in assets.files] == ["grub/grub.cfg"]
    assert (boot.offset_bytes, len(boot.content), core.offset_bytes) == (0, 440, 512)
    assert 512 + len(core.content) < 1 * MIB
    with pytest.raises(ImageError, match="does not fit"):
        BOOT_LOADER.assets(System("/"), replace(image, boot_start_bytes=64 << 10))
