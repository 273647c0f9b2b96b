# SPDX-License-Identifier: Apache-2.0
"""Stage 1: prepares everything that stage 2 needs, and changes the next boot last.

`Stage1` turns the accepted survey into actions; later ones use the results of earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from balena_migrate import VERSION
from balena_migrate.bootloaders import boot_of
from balena_migrate.bootloaders.efi.new_system import efi_blocks, new_boot_entry
from balena_migrate.carried.backup import BackupPlan, BackupResult, make_backup
from balena_migrate.checks.backup import check_result, find_room
from balena_migrate.checks.strategy import check_strategy, expected_sizes
from balena_migrate.core.changes import Action, ActionName, CapturedOnce, MakeDir, Produce, WriteFile
from balena_migrate.core.errors import BackupError, DiskError, FileError, MigrateError
from balena_migrate.core.handover import (
    DataFile,
    DataPartition,
    FileSystem,
    Handover,
    StoredFile,
    TermExit,
    describe_content,
    dump_handover,
    parse_handover,
)
from balena_migrate.core.paths import (
    INITRAMFS_NAME,
    PATCHES,
    STAGE2_CONFIG,
    STATE_DIR,
    WORK_DIR,
)
from balena_migrate.core.progress import Progress, Say
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.facts import BlockDevice, DiskFacts, Mount
from balena_migrate.findings import Severity
from balena_migrate.images.compose import compose
from balena_migrate.images.flasher import extract
from balena_migrate.images.partitions import TableKind
from balena_migrate.images.partitions.device import has_gpt_copy
from balena_migrate.images.partitions.gpt import erased_copy, last_sector
from balena_migrate.images.partitions.known_disk import find_file_system, find_place, find_target, read_identity
from balena_migrate.images.patches import Block, dump_patches
from balena_migrate.images.prepare import prepare, read_back
from balena_migrate.images.room import fitted_table, grown_size_bytes
from balena_migrate.initramfs import WayBack, builder_named
from balena_migrate.strategies import strategy_named
from balena_migrate.survey import Accepted, read_kit


class Stage1:
    """The actions of stage 1 for an accepted device."""

    def __init__(self, accepted: Accepted, *, progress: Progress, say: Say) -> None:
        self._accepted = accepted
        self._config, self._facts = accepted.config, accepted.facts
        self._image, self._loader, self._target = accepted.image, accepted.boot_loader, accepted.target
        self._progress, self._say = progress, say
        self._backups: list[BackupResult] = []
        self._sizes = expected_sizes(accepted.survey)
        # The hand-over and the journal both capture these, and must get the same undo record.
        self._preparations = tuple(map(CapturedOnce, self._loader.preparations(self._config, self._facts)))
        self._boot_actions = tuple(map(CapturedOnce, self._loader.boot_actions(self._config, self._facts)))

    @property
    def initramfs_path(self) -> str:
        return f"{self._loader.boot_folder(self._facts)}/{INITRAMFS_NAME}"

    def boot_actions(self) -> tuple[Action, ...]:
        """The change that makes the next boot start stage 2; the same objects on every call."""
        return self._boot_actions

    def actions(self) -> tuple[Action, ...]:
        """All actions before it. None of these changes the next boot."""
        return (
            MakeDir(name=ActionName.WORK_DIR, title="create the folder for stage 2's files", path=WORK_DIR, mode=0o700),
            *self._image_actions(),
            *map(self._backup_action, self._accepted.payload.backups),
            Produce(
                name=ActionName.PATCHES, title="compose the new boot partition", path=PATCHES, make=self._make_patches
            ),
            Produce(
                name=ActionName.HANDOVER,
                title="write the hand-over to stage 2",
                path=STAGE2_CONFIG,
                make=self._make_handover,
            ),
            *self._preparations,
            Produce(
                name=ActionName.INITRAMFS,
                title="build the stage 2 initramfs",
                path=self.initramfs_path,
                make=self._make_initramfs,
            ),
        )

    def _image_actions(self) -> tuple[Action, ...]:
        """What makes the file that stage 2 gets, where that is not there: out of a flasher image, or prepared."""
        if self._image.inside is not None:
            title, make = "take the system image out of the flasher image", self._extract_image
        elif self._image.original is not None:
            title, make = "prepare the image", self._prepare_image
        else:
            return ()
        return (Produce(name=ActionName.IMAGE, title=title, path=str(self._image.path), make=make),)

    def _extract_image(self, system: System, path: str) -> None:
        with self._progress("system image") as report, system.replacing(path) as file:
            extract(self._image, file, report)
        self._made(image_bytes=system.stat(path).st_size)

    def _prepare_image(self, system: System, path: str) -> None:
        assert self._image.original is not None, "the file is there"
        with self._progress("preparing the image") as report, system.replacing(path) as file:
            bmap = prepare(self._image.original, file, report)
        with self._progress("reading it back") as report, system.open(path) as made:
            read_back(made, bmap, report)
        self._made(image_bytes=system.stat(path).st_size)

    def _made(self, **sizes: Any) -> None:
        """These of Stage2Sizes are known now. Raises MigrateError where memory is too small for what they are."""
        self._sizes = replace(self._sizes, **sizes)
        for finding in check_strategy(self._accepted.survey, self._sizes):
            if finding.severity is Severity.BLOCKER:
                raise MigrateError(finding.cause, hint=finding.remedy)

    def _backup_action(self, plan: BackupPlan) -> Action:
        what = "backup of the volumes" if plan.volumes else "backup"

        def make(system: System, path: str) -> None:
            with self._progress(what) as report:
                self._backups.append(make_backup(system, plan, path, report))
            self._judge_backup(plan, self._backups[-1])

        name = ActionName.VOLUMES_BACKUP if plan.volumes else ActionName.BACKUP
        return Produce(name=name, title=f"create the {what}", path=self._config.in_home(plan.name), make=make)

    @property
    def _backup_bytes(self) -> int:
        return sum(backup.size_bytes for backup in self._backups)

    def _judge_backup(self, plan: BackupPlan, backup: BackupResult) -> None:
        """Check, with its size now known, that all backups so far fit. Raises MigrateError otherwise."""
        for finding in check_result(backup, plan, find_room(self._accepted.survey), self._backup_bytes):
            if finding.severity is Severity.BLOCKER:
                raise BackupError(finding.cause, hint=finding.remedy)
            if finding.severity is Severity.WARNING:
                self._say(finding.cause)
        self._made(backup_bytes=self._backup_bytes)

    def _make_patches(self, system: System, path: str) -> None:
        """Compose the boot partition. The file contains secrets: it has mode 0600 in a folder of mode 0700."""
        assets = self._loader.assets(system, boot_of(self._image, self._facts.boot.firmware))
        survey = self._accepted.survey
        files = (*survey.boot_files(), *assets.files)
        table = (*efi_blocks(self._facts.boot, self._image), *self._table(), *self._erased_gpt(system))
        patches = compose(self._image, files, assets.blocks, survey.work_dir, system, table=table)
        system.write_file(path, dump_patches(patches), mode=0o600)
        self._made(patches_bytes=system.stat(path).st_size)

    @property
    def _grow_bytes(self) -> int:
        """The size to which resin-data must grow for the backups that were made; 0 if they fit."""
        return grown_size_bytes(self._image, self._backup_bytes, self._target.size_bytes) or 0

    def _table(self) -> tuple[Block, ...]:
        size_bytes = self._grow_bytes
        if size_bytes:
            old_mib, new_mib = self._image.data.size_bytes // MIB, size_bytes // MIB
            self._say(f"resin-data grows from {old_mib} to {new_mib} MiB for the backup")
        return fitted_table(self._image, size_bytes, self._target.size_bytes)

    def _erased_gpt(self, system: System) -> Iterator[Block]:
        """What an MBR image leaves of the old system's GPT: the copy of its header, behind the image."""
        image, disk = self._image, self._target
        behind = image.size_bytes <= last_sector(disk.size_bytes)
        if image.table.kind is TableKind.DOS and behind and has_gpt_copy(system, disk.path, disk.size_bytes):
            yield erased_copy(disk.size_bytes)

    def _make_handover(self, system: System, path: str) -> None:
        """Stage 2 will read what is meant, and find the disks. Raises DiskError or FileError where it would not."""
        handover = self._handover(system)
        prove_found(system, self._facts.disks, self._target, handover)
        system.write_file(path, dump_handover(handover), mode=0o600)
        # A Raspberry Pi without tryboot would start a stage 2 that cannot read it again and again.
        if parse_handover(system.read_text(path)) != handover:
            raise FileError(path, "does not read back as it was written", hint="report this with balena-migrate facts")

    def _handover(self, system: System) -> Handover:
        facts, config, image, target = self._facts, self._config, self._image, self._target
        stored = self._stored_image(system)
        patches = stored_file(system, PATCHES)
        changes = (*self._preparations, *self._boot_actions)
        boot_undo = tuple(action.capture(system) for action in reversed(changes))
        data_files = self._data_files()
        paths = [
            STATE_DIR,
            stored.path,
            *(d.file.path for d in data_files),
            *(record.path for record in boot_undo if not record.is_variable),
        ]
        return Handover(
            strategy=config.strategy,
            target=read_identity(system, target.name),
            image=stored,
            image_format=image.format,
            image_size_bytes=image.size_bytes,
            patches=patches,
            block_map=image.block_map,
            data_partition=self._data_partition(),
            data_files=data_files,
            file_systems=file_systems(system, facts.disks, paths),
            boot_undo=() if config.no_setup else boot_undo,
            boot_written=self._boot_written(),
            memory_reserve_bytes=strategy_named(config.strategy).memory_reserve_bytes + image.unpacking_bytes,
            no_flash=config.no_flash,
            term_exit=self._term_exit(),
            log_file_system=self._log_file_system(system),
            usr=find_usr(system, facts.disks),
            version=VERSION,
            kit=self._accepted.survey.kit_identity,
            machine_id=self._accepted.payload.preserved.machine_id,
            boot_entry=new_boot_entry(facts, image, target, self._accepted.device_type.boot_entry),
        )

    def _stored_image(self, system: System) -> StoredFile:
        image = self._image
        if not image.is_there:
            return stored_file(system, str(image.path))
        return StoredFile(path=str(image.path), size_bytes=image.file_bytes, sha256=image.sha256)

    def _term_exit(self) -> TermExit:
        """A reboot where the old system would not go on from stage 2 as it starts by itself."""
        arguments = self._loader.arguments(self._facts)
        if arguments and arguments.changes_old_system:
            return TermExit.REBOOT
        return self._config.term_exit

    def _boot_written(self) -> tuple[StoredFile, ...]:
        if self._config.no_setup:
            return ()
        changes = (captured.action for captured in self._boot_actions)
        writes = [action for action in changes if isinstance(action, WriteFile)]
        return tuple(describe_content(action.path, action.content) for action in writes)

    def _data_partition(self) -> DataPartition:
        data, grow_bytes = self._image.data, self._grow_bytes
        return DataPartition(
            start_bytes=data.start_bytes, size_bytes=grow_bytes or data.size_bytes, grow_bytes=grow_bytes
        )

    def _log_file_system(self, system: System) -> FileSystem | None:
        device = self._accepted.survey.log_device
        if device is None:
            return None
        place = find_place(system, device.path)
        return FileSystem(uuid=device.uuid, fstype=self._config.log_fs_type, mount_point="", place=place)

    def _data_files(self) -> tuple[DataFile, ...]:
        return tuple(
            DataFile(
                file=StoredFile(path=made.path, size_bytes=made.size_bytes, sha256=made.sha256), name=made.name_on_data
            )
            for made in self._backups
        )

    def _make_initramfs(self, system: System, path: str) -> None:
        """Raises FileError where the kit is not the one that was checked: somebody has replaced it meanwhile."""
        survey, kit = self._accepted.survey, self._accepted.kit
        builder, recipe = builder_named(self._config.initramfs), survey.initramfs
        handover = system.read_bytes(STAGE2_CONFIG)
        size = builder.build(system, recipe, kit.base, handover, path, self._way_back(system))
        if read_kit(kit) != (survey.kit_identity, ()):
            raise FileError(kit.path, "was changed while stage 1 ran", hint="leave the kit alone, and run again")
        self._say(f"the initramfs has {size.packed_bytes} bytes, and {size.unpacked_bytes} unpacked")
        self._made(initramfs=size)

    def _way_back(self, system: System) -> WayBack | None:
        """What init restores where stage 2 does not come to it; None where the boot loader starts that only once."""
        facts = self._facts
        if self._config.no_setup or self._loader.one_shot(facts):
            return None
        decides = self._boot_actions[-1]
        mount = facts.disks.mounts_above(decides.path)[-1]
        device = facts.disks.find_device(mount.source)
        assert device is not None and device.uuid, "the hand-over names it"
        return WayBack(
            uuid=device.uuid,
            name=str(PurePosixPath(decides.path).relative_to(mount.mount_point)),
            content=decides.capture(system).content,
        )


def stored_file(system: System, path: str) -> StoredFile:
    """Size and SHA-256 of a file."""
    digest = system.digest(path)
    return StoredFile(path=path, size_bytes=digest.size_bytes, sha256=digest.sha256)


def file_systems(system: System, disks: DiskFacts, paths: list[str]) -> tuple[FileSystem, ...]:
    """The file systems that contain these paths, the root file system first, and parents before their mount points.

    Raises DiskError if one has no UUID, by which stage 2 would find it.
    """
    mounts = {mount.mount_point: mount for path in ("/", *paths) for mount in disks.mounts_above(path)}
    return tuple(_file_system(system, disks, mounts[point]) for point in sorted(mounts, key=len))


def find_usr(system: System, disks: DiskFacts) -> FileSystem | None:
    """The file system of /usr, if that is one of its own. Raises DiskError as file_systems does."""
    mount = disks.find_mount("/usr")
    return _file_system(system, disks, mount) if mount and mount.mount_point == "/usr" else None


def _file_system(system: System, disks: DiskFacts, mount: Mount) -> FileSystem:
    device = disks.find_device(mount.source)
    if device is None or not device.uuid:
        reason = f"{mount.source} on {mount.mount_point} has no UUID by which stage 2 could find it"
        raise DiskError(reason, hint="keep the image and the backup on the root file system")
    place = find_place(system, device.path)
    return FileSystem(uuid=device.uuid, fstype=mount.fstype, mount_point=mount.mount_point, place=place)


def prove_found(system: System, disks: DiskFacts, target: BlockDevice, handover: Handover) -> None:
    """Stage 2 would find the disk and the file systems, if it ran now. Raises DiskError where it would not."""
    found = find_target(system, handover.target)
    if found != target.path:
        raise DiskError(f"stage 2 would take {found} for {target.path}")
    for file_system in (*handover.file_systems, *filter(None, (handover.usr,))):
        mount = disks.find_mount(file_system.mount_point)
        found = find_file_system(system, file_system, limit_s=0)
        if mount and found != mount.source:
            raise DiskError(f"stage 2 would take {found} for {mount.source}, which is on {mount.mount_point}")
