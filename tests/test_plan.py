# SPDX-License-Identifier: Apache-2.0
"""The plan is a function of what was found: golden plans for recorded devices, and what it says of the line."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate import stage1 as stage1_module
from balena_migrate.carried.backup import BackupResult
from balena_migrate.cli.verbs.plan import planned
from balena_migrate.core.changes import ActionName, Produce
from balena_migrate.core.errors import DiskError, FileError, MigrateError
from balena_migrate.core.handover import (
    DiskIdentity,
    FileSystem,
    Handover,
    Place,
    describe_content,
    dump_handover,
    parse_handover,
)
from balena_migrate.core.paths import PATCHES, STAGE2_CONFIG, WORK_DIR
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.core.values import to_json
from balena_migrate.facts import Facts
from balena_migrate.images.partitions import TableKind
from balena_migrate.images.patches import Block
from balena_migrate.images.window import expected_window, medium_of
from balena_migrate.initramfs import InitramfsSize, Recipe, WayBack
from balena_migrate.plan import Plan, describe, make_plan
from balena_migrate.settings import Config
from balena_migrate.stage1 import file_systems
from balena_migrate.survey import Accepted, accept
from tests.support.facts import pc_facts, pi_facts, uefi_facts
from tests.support.kit import make_kit
from tests.support.surveys import carrying, some_backup, some_image, stage1_of
from tests.support.system import device_with
from tests.support.tables import DATA_FILE_SYSTEM

PLANS = Path(__file__).parent / "plans"


def accepted_for(config: Config, facts: Facts | None = None, *, backup_bytes: int = 0, backups: int = 1) -> Accepted:
    image = replace(some_image(files=("grub/grub.cfg",)), data_file_system=DATA_FILE_SYSTEM)
    plans = (some_backup(expected_bytes=backup_bytes // backups),) * backups
    return accept(replace(carrying(facts, config, backups=plans), image=image), ())


def plan_for(config: Config, facts: Facts | None = None, *, backup_bytes: int = 0) -> Plan:
    accepted = accepted_for(config, facts, backup_bytes=backup_bytes)
    stage1 = stage1_of(accepted)
    return make_plan(accepted, stage1.actions(), stage1.boot_actions())


CONFIGS = {
    "pc-default": Config(home_dir="/root/migration"),
    "pc-flash": Config(home_dir="/root/migration", no_flash=False),
    "pc-no-setup": Config(home_dir="/root/migration", no_setup=True),
    "pc-uefi": Config(home_dir="/root/migration", no_flash=False),
    "pc-uefi-grub": Config(home_dir="/root/migration", no_flash=False),
    "pi-config-txt": Config(home_dir="/root/migration", no_flash=False),
    "pi-tryboot": Config(home_dir="/root/migration", no_flash=False),
}
DEVICES = {
    "pc-uefi": uefi_facts(),
    "pc-uefi-grub": uefi_facts(free_bytes=20 * MIB),
    "pi-config-txt": pi_facts(),
    "pi-tryboot": pi_facts(disk="nvme0n1", revision="c03114", tryboot=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plan_is_the_golden_one(name: str) -> None:
    """With BALENA_MIGRATE_WRITE_PLANS=1 the golden ones are written anew, to be read before they are committed."""
    text = describe(plan_for(CONFIGS[name], DEVICES.get(name))) + "\n"
    path = PLANS / f"{name}.txt"
    if os.environ.get("BALENA_MIGRATE_WRITE_PLANS"):
        path.write_text(text)
    assert text == path.read_text()


def test_a_backup_that_makes_resin_data_grow_is_in_the_plan() -> None:
    plan = plan_for(CONFIGS["pc-flash"], backup_bytes=1024 * MIB)
    assert plan.after[1] == (
        "grow resin-data's file system from 196 to about 1152 MiB, so that the backup fits;"
        " the partition table that is written already has it that large"
    )
    assert plan.after[2].startswith("copy the backup")
    assert plan.window_s == pytest.approx(908 / 50 + 908 / 100 + 1024 / 50)
    assert "1024 MiB of backup written" in plan.window_text
    assert len(plan_for(CONFIGS["pc-flash"], backup_bytes=100 * MIB).after) == 3


@pytest.mark.parametrize(("backups_mib", "grow_mib"), [([100], 0), ([300], 384), ([150, 150], 384)])
def test_the_table_is_made_for_the_backups_as_they_became(
    backups_mib: list[int], grow_mib: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And not for those that were expected; stage 2 is told the same size, and of all of them."""
    made = [
        BackupResult(path=f"/b{mib}", size_bytes=mib * MIB, sha256="", file_count=1, archive_bytes=1, name_on_data="b")
        for mib in backups_mib
    ]
    coming = iter(made)
    composed: list[object] = []
    monkeypatch.setattr(stage1_module, "make_backup", lambda *arguments: next(coming))
    monkeypatch.setattr(
        stage1_module, "fitted_table", lambda image, size, disk: (f"a table for {size // MIB} MiB",) if size else ()
    )
    monkeypatch.setattr(stage1_module, "compose", lambda *arguments, table: composed.append(table))
    monkeypatch.setattr(stage1_module, "dump_patches", lambda patches: b"patches")
    accepted = accepted_for(CONFIGS["pc-flash"], backup_bytes=900 * MIB, backups=len(made))
    stage1, system = stage1_of(accepted), device_with(tmp_path, accepted.facts.disks)
    (tmp_path / "etc").mkdir()
    (tmp_path / WORK_DIR.lstrip("/")).mkdir(parents=True)
    (tmp_path / PATCHES.lstrip("/")).write_text("old")
    for action in stage1.actions()[1 : 3 + len(made)]:
        assert isinstance(action, Produce)
        action.make(system, action.path)
    for path in (PATCHES, STAGE2_CONFIG):
        assert stat.S_IMODE(system.stat(path).st_mode) == 0o600, "only root may read it, also where there was a file"
    handover = parse_handover(system.read_text(STAGE2_CONFIG))
    place = handover.data_partition
    assert [data.file.path for data in handover.data_files] == [backup.path for backup in made]
    assert composed == [(f"a table for {grow_mib} MiB",) if grow_mib else ()]
    assert (place.grow_bytes, place.size_bytes) == (grow_mib * MIB, (grow_mib or 196) * MIB)


SETTLED = Block(offset_bytes=0, content=b"a GPT with its copy at the disk's end")


@pytest.mark.parametrize(
    ("kind", "at_end", "erased"),
    [
        (TableKind.DOS, b"EFI PART", True),
        (TableKind.DOS, b"of the old system", False),
        (TableKind.GPT, b"EFI PART", False),
    ],
)
def test_the_copy_of_the_old_gpt_does_not_stay_beside_an_mbr(
    kind: TableKind, at_end: bytes, erased: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    composed: list[tuple[Block, ...]] = []
    monkeypatch.setattr(stage1_module, "compose", lambda *arguments, table: composed.append(table))
    fitted = (SETTLED,) if kind is TableKind.GPT else ()
    monkeypatch.setattr(stage1_module, "fitted_table", lambda image, size, disk: fitted)
    monkeypatch.setattr(stage1_module, "dump_patches", lambda patches: b"patches")
    accepted = accepted_for(CONFIGS["pc-flash"])
    accepted = replace(accepted, image=replace(accepted.image, table=replace(accepted.image.table, kind=kind)))
    end = accepted.target.size_bytes - 512
    (tmp_path / "dev").mkdir()
    with (tmp_path / "dev/sda").open("wb") as disk:
        disk.truncate(end + 512)
        disk.seek(end)
        disk.write(at_end)
    (tmp_path / WORK_DIR.lstrip("/")).mkdir(parents=True)
    (action,) = (action for action in stage1_of(accepted).actions() if action.name is ActionName.PATCHES)
    assert isinstance(action, Produce)
    action.make(device_with(tmp_path, accepted.facts.disks), action.path)
    assert composed == [(Block(offset_bytes=end, content=bytes(512)),) if erased else fitted]


def test_the_boot_change_is_the_last_thing() -> None:
    data = to_json(planned(plan_for(CONFIGS["pc-flash"])))
    assert [row["path"] for row in data["boot_actions"]] == ["/boot/grub/custom.cfg", "/boot/grub/grubenv"]
    assert data["actions"][-1]["path"] == "/boot/balena-migrate-initramfs"
    names = [row["name"] for key in ("actions", "boot_actions") for row in data[key]]
    assert names == ["work-dir", "backup", "patches", "handover", "initramfs", "boot-entry", "boot-next"]
    assert data["no_flash"] is False


def test_the_window_is_longer_on_a_card_than_on_an_ssd() -> None:
    card, _ = expected_window(medium_of("/dev/mmcblk0"), 900 * MIB)
    ssd, _ = expected_window(medium_of("/dev/nvme0n1"), 900 * MIB)
    assert card == 90 + 45
    assert ssd < card / 10


def test_the_file_systems_come_parents_first_and_each_with_its_place(tmp_path: Path) -> None:
    facts = pc_facts(separate_boot=True)
    disk, root, boot = facts.disks.devices
    disks = replace(facts.disks, devices=(disk, replace(root, start_bytes=MIB), replace(boot, start_bytes=5 * MIB)))
    found = file_systems(device_with(tmp_path, disks), disks, ["/boot/grub/grubenv", "/root/image"])
    identity = DiskIdentity(name="sda", size_bytes=8192 * MIB, table_id="", serial="")
    first, second = (Place(disk=identity, start_bytes=start) for start in (MIB, 5 * MIB))
    assert found == (
        FileSystem(uuid="1111-root", fstype="ext4", mount_point="/", place=first),
        FileSystem(uuid="2222-boot", fstype="ext4", mount_point="/boot", place=second),
    )


def test_stage_1_refuses_where_stage_2_would_not_find_what_it_found(tmp_path: Path) -> None:
    """Whatever the reason: here a copy was plugged in while the backup was made."""
    facts = pc_facts()
    disk, root = facts.disks.devices
    copies = (
        replace(disk, name="sdb", path="/dev/sdb"),
        replace(root, name="sdb1", path="/dev/sdb1", parents=("sdb",)),
    )
    (tmp_path / PATCHES.lstrip("/")).parent.mkdir(parents=True)
    (tmp_path / PATCHES.lstrip("/")).write_text("x")
    system = device_with(tmp_path, replace(facts.disks, devices=(disk, root, *copies)))
    action = next(action for action in plan_for(CONFIGS["pc-flash"]).actions if action.path == STAGE2_CONFIG)
    with pytest.raises(DiskError, match="2 disks match"):
        action.apply(system)
    assert not system.exists(STAGE2_CONFIG)


@pytest.mark.parametrize("no_setup", [False, True])
def test_stage_2_is_told_what_was_there_and_what_stage_1_writes(tmp_path: Path, no_setup: bool) -> None:
    """By the first it puts config.txt back, by the second it sees that somebody changed it in between."""
    facts = pi_facts()
    for name, text in {**facts.boot.files, PATCHES: "x", STAGE2_CONFIG: ""}.items():
        (tmp_path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name.lstrip("/")).write_text(text)
    system, config = device_with(tmp_path, facts.disks), Config(home_dir="/root/migration", no_setup=no_setup)
    plan = plan_for(config, facts)
    next(action for action in plan.actions if action.path == STAGE2_CONFIG).apply(system)
    handover = parse_handover(system.read_text(STAGE2_CONFIG))
    if no_setup:
        assert (handover.boot_undo, handover.boot_written) == ((), ())
        return
    config_txt = "/boot/firmware/config.txt"
    assert handover.boot_undo[0].path == config_txt
    assert handover.boot_undo[0].content == facts.boot.files[config_txt].encode()
    for action in plan.boot_actions:
        action.apply(system)
    written = {file.path: file for file in handover.boot_written}
    assert set(written) == {action.path for action in plan.boot_actions}
    assert all(describe_content(path, system.read_bytes(path)) == file for path, file in written.items())


def test_a_file_system_without_a_uuid_is_refused(tmp_path: Path) -> None:
    facts = pc_facts()
    devices = tuple(replace(device, uuid="") for device in facts.disks.devices)
    with pytest.raises(DiskError, match="no UUID"):
        file_systems(System(tmp_path), replace(facts.disks, devices=devices), ["/x"])


def update(base: Path) -> None:
    """Another version of the kit is unpacked over this one."""
    shutil.rmtree(base.parent)
    make_kit(base.parent, text="another version")


class Builder:
    """Makes an initramfs while somebody does something to the kit."""

    def __init__(self, meanwhile: Callable[[Path], object], unpacked_bytes: int = 1) -> None:
        self.meanwhile, self.unpacked_bytes = meanwhile, unpacked_bytes
        self.way_back: WayBack | None = None

    def build(
        self, system: System, recipe: Recipe, kit_base: Path, handover: bytes, path: str, way_back: WayBack | None
    ) -> InitramfsSize:
        self.meanwhile(kit_base)
        self.way_back = way_back
        return InitramfsSize(packed_bytes=1, unpacked_bytes=self.unpacked_bytes)


@pytest.mark.parametrize(
    ("meanwhile", "refused"),
    [
        (lambda base: None, False),
        (lambda base: (base / "ld.so").write_text("another"), True),
        (lambda base: (base / "SHA256SUMS").unlink(), True),
        (update, True),
    ],
)
def test_a_kit_that_is_replaced_while_stage_1_runs_is_refused(
    tmp_path: Path, meanwhile: Callable[[Path], object], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 2 would be another version's, and read the hand-over in its own way."""
    kit = make_kit(tmp_path / "kit")
    accepted = accepted_for(CONFIGS["pc-flash"])
    survey = replace(accepted.survey, kit_identity=kit.identity())
    monkeypatch.setattr(stage1_module, "builder_named", lambda _: Builder(meanwhile))
    stage1 = stage1_of(replace(accepted, survey=survey, kit=kit))
    (action,) = (action for action in stage1.actions() if action.name is ActionName.INITRAMFS)
    (tmp_path / "etc").mkdir()
    (tmp_path / STAGE2_CONFIG.lstrip("/")).touch()
    with pytest.raises(FileError, match="was changed while stage 1 ran") if refused else contextlib.nullcontext():
        action.apply(System(tmp_path))


@pytest.mark.parametrize(("unpacked_mib", "fits"), [(1786, True), (1787, False)])
def test_memory_is_judged_again_by_the_initramfs_as_it_became(
    tmp_path: Path, unpacked_mib: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2048 MiB, 100 (image) + 2 (changes) + 48 (working memory) + 112 (kernel) are needed besides."""
    kit = make_kit(tmp_path / "kit")
    accepted = accepted_for(CONFIGS["pc-flash"])
    survey = replace(accepted.survey, kit_identity=kit.identity())
    monkeypatch.setattr(stage1_module, "builder_named", lambda _: Builder(lambda base: None, unpacked_mib * MIB))
    stage1 = stage1_of(replace(accepted, survey=survey, kit=kit))
    (action,) = (action for action in stage1.actions() if action.name is ActionName.INITRAMFS)
    (tmp_path / "etc").mkdir()
    (tmp_path / STAGE2_CONFIG.lstrip("/")).touch()
    refused = pytest.raises(MigrateError, match=r"stage 2 needs 1787 \(unpacked initramfs\) .* = 2049 MiB")
    with contextlib.nullcontext() if fits else refused:
        action.apply(System(tmp_path))


@pytest.mark.parametrize("unpacking_mib", [0, 128])
def test_stage_2_keeps_memory_for_unpacking_the_image(tmp_path: Path, unpacking_mib: int) -> None:
    for name in (PATCHES, STAGE2_CONFIG):
        (tmp_path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name.lstrip("/")).touch()
    accepted = accepted_for(CONFIGS["pc-flash"])
    accepted = replace(accepted, image=replace(accepted.image, unpacking_bytes=unpacking_mib * MIB))
    system = device_with(tmp_path, accepted.facts.disks)
    next(action for action in stage1_of(accepted).actions() if action.path == STAGE2_CONFIG).apply(system)
    reserve = parse_handover(system.read_text(STAGE2_CONFIG)).memory_reserve_bytes
    assert reserve == (48 + unpacking_mib) * MIB


@pytest.mark.parametrize(
    ("name", "way_back"),
    [
        ("pi-config-txt", WayBack(uuid="AAAA-0001", name="config.txt", content=b"as it was\n")),
        ("pi-tryboot", None),
        ("pc-flash", None),
        ("pc-uefi", None),
    ],
)
def test_the_initramfs_can_put_back_what_a_firmware_does_not_forget(
    tmp_path: Path, name: str, way_back: WayBack | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 2 does it in other words; this is for a start in which there is no stage 2."""
    builder, kit = Builder(lambda base: None), make_kit(tmp_path / "kit")
    accepted = accepted_for(CONFIGS[name], DEVICES.get(name))
    survey = replace(accepted.survey, kit_identity=kit.identity())
    monkeypatch.setattr(stage1_module, "builder_named", lambda _: builder)
    stage1 = stage1_of(replace(accepted, survey=survey, kit=kit))
    (action,) = (action for action in stage1.actions() if action.name is ActionName.INITRAMFS)
    for path, text in ((STAGE2_CONFIG, ""), ("/boot/firmware/config.txt", "as it was\n")):
        (tmp_path / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.lstrip("/")).write_text(text)
    action.apply(System(tmp_path))
    assert builder.way_back == way_back


def test_where_the_next_boot_is_not_changed_there_is_nothing_to_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder, kit = Builder(lambda base: None), make_kit(tmp_path / "kit")
    accepted = accepted_for(replace(CONFIGS["pi-config-txt"], no_setup=True), pi_facts())
    survey = replace(accepted.survey, kit_identity=kit.identity())
    monkeypatch.setattr(stage1_module, "builder_named", lambda _: builder)
    stage1 = stage1_of(replace(accepted, survey=survey, kit=kit))
    (action,) = (action for action in stage1.actions() if action.name is ActionName.INITRAMFS)
    (tmp_path / "etc").mkdir()
    (tmp_path / STAGE2_CONFIG.lstrip("/")).touch()
    (tmp_path / "boot/firmware").mkdir(parents=True)
    action.apply(System(tmp_path))
    assert builder.way_back is None


def test_the_hand_over_names_the_kit_that_was_checked(tmp_path: Path) -> None:
    facts = pc_facts()
    for name in (PATCHES, STAGE2_CONFIG):
        (tmp_path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name.lstrip("/")).touch()
    accepted = accepted_for(CONFIGS["pc-flash"], facts)
    stage1 = stage1_of(replace(accepted, survey=replace(accepted.survey, kit_identity="4567")))
    system = device_with(tmp_path, facts.disks)
    next(action for action in stage1.actions() if action.path == STAGE2_CONFIG).apply(system)
    assert parse_handover(system.read_text(STAGE2_CONFIG)).kit == "4567"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (lambda handover: b"", "Expecting value"),
        (lambda handover: dump_handover(replace(handover, version="0")), "does not read back as it was written"),
    ],
)
def test_a_hand_over_that_stage_2_would_not_read_is_an_error_of_stage_1(
    tmp_path: Path, written: Callable[[Handover], bytes], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = pc_facts()
    for name in (PATCHES, STAGE2_CONFIG):
        (tmp_path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name.lstrip("/")).touch()
    monkeypatch.setattr(stage1_module, "dump_handover", written)
    system = device_with(tmp_path, facts.disks)
    action = next(action for action in plan_for(CONFIGS["pc-flash"]).actions if action.path == STAGE2_CONFIG)
    with pytest.raises(FileError, match=reason):
        action.apply(system)
