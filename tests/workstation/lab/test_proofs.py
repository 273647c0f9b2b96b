# SPDX-License-Identifier: Apache-2.0
"""The proofs pass for a device that has everything, and each fails for the one thing that is missing."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.settings import Config
from balena_migrate.workstation.lab import owner
from balena_migrate.workstation.lab.disks import FileSystem, Span
from balena_migrate.workstation.lab.expected import Expected
from balena_migrate.workstation.lab.lookalike import Content, Report, ReportedFile, ReportedPartition
from balena_migrate.workstation.lab.machines.pc import PcMachine
from balena_migrate.workstation.lab.prepare import Prepared
from balena_migrate.workstation.lab.proofs import LABELS, Armed, machine_id_check, new_system_checks
from balena_migrate.workstation.lab.scenarios.table import find_scenario
from balena_migrate.workstation.lab.wishes import Expect

NETWORK = owner.WifiNetwork(ssid="Yard", passphrase="seven;gates")
KEYFILE = (
    b"[connection]\nid=Yard\ntype=wifi\n\n[wifi]\nssid=Yard\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=seven\\;gates\n"
)
DATA = {"srv/depot/readings.csv": b"1,2\n", "etc/hostname": b"depot\n"}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def reported(path: str, content: bytes) -> ReportedFile:
    return ReportedFile(path=path, size_bytes=len(content), mode=0o600, uid=0, gid=0, sha256=digest(content))


PC_BIOS = find_scenario("pc-bios")
PREPARED = Prepared(
    device=PC_BIOS.device,
    wishes=PC_BIOS.wishes,
    expect=PC_BIOS.expect,
    machine=PcMachine(kernel=Path("vmlinuz")),
    drives=(Path("disk.img"),),
    file_systems=(FileSystem(span=Span(start_bytes=MIB, size_bytes=MIB)),),
    memory_mib=1024,
    config_json=owner.config_json("intel-nuc"),
    content=Content(
        files={
            "resin-boot": {"config.json": digest(b"{}"), "grub/grub.cfg": digest(b"grub"), "EFI/x": digest(b"x")},
            "resin-rootA": {"lib/one.ko": digest(b"one"), "lib/two.ko": digest(b"two")},
            "resin-state": {"overlay": digest(b"overlay")},
            "resin-data": {"docker/volume": digest(b"volume")},
        },
        used_bytes=1,
    ),
    expected=Expected(
        config=Config(),
        networks=frozenset({NETWORK}),
        backup={path: digest(content) for path, content in DATA.items()},
    ),
)

REPORT = Report(
    kernel="6.1.0",
    command_line="root=LABEL=resin-rootA rootwait",
    memory_bytes=1 << 30,
    uptime_s=10.0,
    disk_bytes=4096 * MIB,
    data_bytes_before=192 * MIB,
    partition_table="dos",
    partitions=tuple(
        ReportedPartition(label=label, number=number, start_bytes=number * MIB, size_bytes=3000 * MIB, check_status=0)
        for number, label in enumerate(LABELS, start=1)
    ),
    config_json=owner.config_json("intel-nuc"),
    boot_files=(
        reported("EFI/x", b"x"),
        reported("config.json", owner.config_json("intel-nuc")),
        reported("grub/grub.cfg", b"grub"),
        reported("system-connections/resin-wifi-01", KEYFILE),
    ),
    root_files=(reported("lib/one.ko", b"one"), reported("lib/two.ko", b"two")),
    state_files=(reported("overlay", b"overlay"),),
    data_files=(
        reported("migration-backup.tgz", b"the archive"),
        reported("migrate.log", b"flash: 100 %"),
        reported("docker/volume", b"volume"),
    ),
)
ARMED = Armed(backups={"backup.tgz": digest(b"the archive")}, initramfs_bytes=1, changes=())


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "backup.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in DATA.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def failed(report: Report, backup: Path, *, prepared: Prepared = PREPARED, keyfile: bytes = KEYFILE) -> list[str]:
    checks = list(new_system_checks(prepared, ARMED, report, lambda path: keyfile, {"backup.tgz": backup}))
    assert len({check.name for check in checks}) == len(checks)
    return [check.name for check in checks if not check.passed]


def test_passes_where_all_is_there(backup: Path) -> None:
    assert failed(REPORT, backup) == []


def without_boot_file(report: Report, path: str) -> Report:
    return replace(report, boot_files=tuple(file for file in report.boot_files if file.path != path))


def with_boot_file(report: Report, path: str, content: bytes) -> Report:
    files = (*without_boot_file(report, path).boot_files, reported(path, content))
    return replace(report, boot_files=files)


def changed_config(report: Report) -> Report:
    values = {**json.loads(report.config_json), "apiKey": "another"}
    return replace(report, config_json=json.dumps(values).encode())


def damaged_data(report: Report) -> Report:
    *others, data = report.partitions
    return replace(report, partitions=(*others, replace(data, check_status=4)))


def readable_backup(report: Report) -> Report:
    archive, *others = report.data_files
    return replace(report, data_files=(replace(archive, mode=0o644), *others))


BOOT = "other files in resin-boot are unchanged"


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda r: replace(r, partitions=r.partitions[:-1]), "partition labels"),
        (damaged_data, "file systems with errors"),
        (lambda r: replace(r, data_bytes_before=3000 * MIB), "the data partition was grown"),
        (lambda r: replace(r, command_line="quiet"), "kernel command line of the new system"),
        (changed_config, "config.json in resin-boot"),
        (lambda r: replace(r, config_json=b""), "config.json in resin-boot"),
        (lambda r: without_boot_file(r, "EFI/x"), BOOT),
        (lambda r: with_boot_file(r, "EFI/x", b"y"), BOOT),
        (lambda r: with_boot_file(r, "left-behind", b""), BOOT),
        (
            lambda r: without_boot_file(r, "system-connections/resin-wifi-01"),
            "Wi-Fi networks, with their passphrases",
        ),
        (
            lambda r: with_boot_file(r, "system-connections/resin-wifi-02", KEYFILE),
            "Wi-Fi networks, with their passphrases",
        ),
        (readable_backup, "modes and owners of the files in resin-data"),
        (lambda r: replace(r, data_files=r.data_files[:1]), "modes and owners of the files in resin-data"),
        (lambda r: replace(r, data_files=()), "backup backup.tgz is in resin-data, as stage 1 created it"),
    ],
)
def test_tells_what_is_wrong(spoil: Callable[[Report], Report], name: str, backup: Path) -> None:
    assert name in failed(spoil(REPORT), backup)


def differing(report: Report, backup: Path, prepared: Prepared = PREPARED) -> dict[str, str]:
    """What is found of the files that are not as expected, by the label of their file system."""
    checks = new_system_checks(prepared, ARMED, report, lambda path: KEYFILE, {"backup.tgz": backup})
    found = {check.name: check.found for check in checks if not check.passed}
    return {name.split()[3]: text for name, text in found.items() if name.startswith("other files in ")}


def test_every_file_that_differs_is_named(backup: Path) -> None:
    changed = replace(REPORT, root_files=(reported("lib/one.ko", b"one"), reported("lib/two.ko", b"tw\xa5")))
    assert differing(changed, backup) == {"resin-rootA": "1 files: ~lib/two.ko"}
    others = replace(REPORT, root_files=(reported("lib/three.ko", b"three"),))
    assert differing(others, backup) == {"resin-rootA": "3 files: -lib/one.ko, -lib/two.ko, +lib/three.ko"}
    lost = replace(REPORT, state_files=(), data_files=REPORT.data_files[:2])
    assert differing(lost, backup) == {"resin-state": "1 files: -overlay", "resin-data": "1 files: -docker/volume"}
    more = replace(REPORT, data_files=(*REPORT.data_files, reported("left-behind", b"")))
    assert differing(more, backup) == {"resin-data": "1 files: +left-behind"}
    assert differing(replace(REPORT, data_files=(REPORT.data_files[0], REPORT.data_files[2])), backup) == {
        "resin-data": "1 files: -migrate.log"
    }


def test_a_machine_id_is_in_resin_state_where_keep_asks_for_it_and_nowhere_else(backup: Path) -> None:
    with_it = replace(REPORT, state_files=(*REPORT.state_files, reported("machine-id", b"5ca1e")))
    keeping = replace(PREPARED, expect=Expect(machine_id="5ca1e"))
    assert differing(with_it, backup, keeping) == differing(REPORT, backup) == {}
    assert differing(REPORT, backup, keeping) == {"resin-state": "1 files: -machine-id"}
    assert differing(with_it, backup) == {"resin-state": "1 files: +machine-id"}


def test_a_users_own_image_is_not_compared(backup: Path) -> None:
    own = replace(PREPARED, content=None)
    assert differing(replace(REPORT, root_files=(), data_files=REPORT.data_files[:2]), backup, own) == {}


def test_another_passphrase_is_another_network(backup: Path) -> None:
    other = KEYFILE.replace(b"seven", b"eight")
    report = with_boot_file(REPORT, "system-connections/resin-wifi-01", other)
    assert failed(report, backup, keyfile=other) == ["Wi-Fi networks, with their passphrases"]


UNFORESEEN = replace(PREPARED, expected=replace(PREPARED.expected, unforeseen=("etc/x: its name is not plain text",)))
STRANGE = b"[connection]\nid=x\ntype=wifi\n\n[wifi]\nssid=255;254;\n"


def test_a_network_that_cannot_be_foretold_is_named_and_does_not_fail(backup: Path) -> None:
    def found(report: Report) -> dict[str, bool]:
        contents = {"system-connections/resin-wifi-02": STRANGE}
        read = lambda path: contents.get(path, KEYFILE)  # noqa: E731
        checks = new_system_checks(UNFORESEEN, ARMED, report, read, {"backup.tgz": backup})
        return {check.name: check.passed for check in checks if "Wi-Fi" in check.name}

    with_it = with_boot_file(REPORT, "system-connections/resin-wifi-02", STRANGE)
    beyond = with_boot_file(with_it, "system-connections/resin-wifi-03", STRANGE)
    name, named = "Wi-Fi networks, with their passphrases", "Wi-Fi networks of a kind that the rehearsal cannot predict"
    assert found(REPORT) == found(with_it) == {name: True, named: True}
    assert found(beyond) == {name: False, named: True}
    assert failed(with_it, backup) == [name], "where nothing is unforeseen, it has no right to be there"


def test_has_wifi_cfg_leaves_the_first_number_to_the_image(backup: Path) -> None:
    name = "Wi-Fi networks, with their passphrases"
    prepared = replace(PREPARED, expected=replace(PREPARED.expected, config=Config(has_wifi_cfg=True)))
    second = without_boot_file(REPORT, "system-connections/resin-wifi-01")
    second = with_boot_file(second, "system-connections/resin-wifi-02", KEYFILE)
    assert failed(REPORT, backup, prepared=prepared) == failed(second, backup) == [name]
    assert failed(second, backup, prepared=prepared) == []


def test_a_file_that_is_not_in_the_backup_is_missed(backup: Path) -> None:
    assert PREPARED.expected.backup is not None
    more = {**PREPARED.expected.backup, str(PurePosixPath("srv/lost")): digest(b"lost")}
    prepared = replace(PREPARED, expected=replace(PREPARED.expected, backup=more))
    assert failed(REPORT, backup, prepared=prepared) == ["the backup contains the files of BACKUP_DIRECTORIES"]


def test_what_keep_has_to_bring_into_config_json(backup: Path) -> None:
    prepared = replace(PREPARED, expect=Expect(kept={"hostname": "depot-gateway"}))
    values = {**json.loads(REPORT.config_json), "hostname": "depot-gateway"}

    def wrong(config_json: bytes) -> list[str]:
        report = replace(REPORT, config_json=config_json)
        checks = new_system_checks(prepared, ARMED, report, lambda path: KEYFILE, {"backup.tgz": backup})
        return [check.name for check in checks if not check.passed]

    assert wrong(json.dumps(values).encode()) == []
    assert wrong(REPORT.config_json) == ["config.json in resin-boot"]
    assert wrong(json.dumps({**values, "hostname": "balena"}).encode()) == ["config.json in resin-boot"]


def test_the_machine_id_is_looked_for_in_resin_state(tmp_path: Path) -> None:
    assert not machine_id_check("5ca1e", None).passed
    assert not machine_id_check("5ca1e", tmp_path).passed
    (tmp_path / "machine-id").write_text("5ca1f\n")
    assert not machine_id_check("5ca1e", tmp_path).passed
    (tmp_path / "machine-id").write_text("5ca1e\n")
    assert machine_id_check("5ca1e", tmp_path).passed
