# SPDX-License-Identifier: Apache-2.0
"""The findings about a backup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balena_migrate.carried.backup import BackupPlan, BackupResult, Skipped, SparseFile
from balena_migrate.checks.backup import Room, check_plans, check_result, find_room
from balena_migrate.core.units import GIB, MIB
from balena_migrate.findings import Finding, Severity
from balena_migrate.settings import Config
from tests.support.surveys import image_inside, some_survey

PLAIN = BackupPlan(
    name="backup.tgz",
    name_on_data="migration-backup.tgz",
    left_out={},
    file_count=10,
    archive_bytes=100 * MIB,
    expected_bytes=40 * MIB,
    unpacked_bytes=110 * MIB,
)
VOLUMES = replace(PLAIN, volumes=("data",), name_on_data="backup.tgz")
RESULT = BackupResult(
    path="/home/backup.tgz",
    size_bytes=50 * MIB,
    sha256="",
    file_count=10,
    archive_bytes=100 * MIB,
    name_on_data="backup.tgz",
)


def codes(found: list[Finding]) -> dict[str, Severity]:
    assert all(finding.remedy for finding in found if finding.severity is Severity.BLOCKER)
    return {finding.code: finding.severity for finding in found}


def plain(plan: BackupPlan | None = PLAIN, config: Config | None = None) -> dict[str, Severity]:
    return codes(list(check_plans((plan,) if plan else (), config or Config(), Room(), os_version="2.15.1")))


def test_the_default_is_said_to_be_renamed() -> None:
    assert plain() == {"backup-renamed": Severity.OK, "backup-size": Severity.OK}


def test_another_name_is_kept() -> None:
    assert "backup-plain" in plain(config=Config(backup_file="mine.tgz"))


def test_no_backup_is_said() -> None:
    assert plain(None) == {"backup-none": Severity.OK}


def test_problems_are_blockers() -> None:
    assert plain(replace(PLAIN, problems=("there is no '/x'",)))["backup-source"] is Severity.BLOCKER
    assert plain(replace(PLAIN, file_count=0))["backup-empty"] is Severity.BLOCKER


@pytest.mark.parametrize("place", ["home_free_bytes", "data_free_bytes"])
@pytest.mark.parametrize(
    ("free_mib", "severity"),
    [(100, None), (99, None), (51, None), (49, Severity.WARNING), (40, Severity.WARNING), (39, Severity.BLOCKER)],
)
def test_room_is_needed_for_what_the_samples_tell(place: str, free_mib: int, severity: Severity | None) -> None:
    found = codes(list(check_plans((PLAIN,), Config(), Room(**{place: free_mib * MIB}))))
    code = "backup-no-room-home" if place == "home_free_bytes" else "backup-no-room-data"
    assert found.get(code) is severity


GROWING = Room(
    data_free_bytes=30 * MIB, data_stage2_bytes=3300 * MIB, disk_bytes=4096 * MIB, data_start_bytes=712 * MIB
)
ARITHMETIC = (
    "resin-data has 30 MiB for it as the image brings it, and 3300 MiB when stage 2 grows it:"
    " 4096 (disk) - 712 (before it) - 84 (its own needs)"
)


def test_a_backup_that_fits_only_once_stage_2_grew_resin_data_is_told() -> None:
    (told,) = [f for f in check_plans((PLAIN,), Config(), GROWING) if f.code == "backup-grows-data"]
    assert told.severity is Severity.OK
    assert told.cause == f"the backup makes stage 2 grow resin-data: {ARITHMETIC}"
    assert "backup-no-room-data" not in codes(list(check_plans((PLAIN,), Config(), GROWING)))


def test_nothing_is_told_where_it_fits_as_it_is() -> None:
    room = replace(GROWING, data_free_bytes=40 * MIB)
    assert set(codes(list(check_plans((PLAIN,), Config(), room)))) == {"backup-renamed", "backup-size"}


def test_a_backup_that_does_not_fit_on_the_disk_either_shows_the_arithmetic() -> None:
    large = replace(PLAIN, archive_bytes=5000 * MIB, expected_bytes=3301 * MIB)
    (found,) = [f for f in check_plans((large,), Config(), GROWING) if f.severity is Severity.BLOCKER]
    assert found.code == "backup-no-room-data"
    assert ARITHMETIC in found.cause
    made = replace(RESULT, size_bytes=3301 * MIB)
    (again,) = check_result(made, PLAIN, GROWING, made.size_bytes)
    assert (again.code, again.cause) == ("backup-too-large", f"the backup has 3301 MiB; {ARITHMETIC}")
    assert codes(list(check_result(made, PLAIN, GROWING, 3300 * MIB))) == {}


def test_where_stage_2_cannot_grow_it_that_is_said() -> None:
    (found,) = [
        f for f in check_plans((PLAIN,), Config(), Room(data_free_bytes=30 * MIB)) if f.severity is Severity.BLOCKER
    ]
    assert found.cause.endswith("resin-data has 30 MiB for it as the image brings it, and stage 2 cannot grow it")


def test_the_arithmetic_is_shown() -> None:
    plans = check_plans((VOLUMES,), Config(), Room(data_grown_bytes=149 * MIB), os_version="2.44.0")
    found = [f for f in plans if f.severity is Severity.BLOCKER]
    assert [f.cause for f in found] == [
        "the supervisor needs 40 (packed) + 110 (unpacked) = 150 MiB on resin-data, which will have 149 MiB"
    ]


def test_a_plain_archive_is_not_unpacked() -> None:
    assert "backup-no-room-unpacked" not in codes(
        list(check_plans((PLAIN,), Config(), Room(data_grown_bytes=50 * MIB)))
    )


@pytest.mark.parametrize(
    ("os_version", "code", "severity"),
    [
        ("2.15.1+rev2", "backup-supervisor-old", Severity.WARNING),
        ("2.31.5", "backup-supervisor", Severity.OK),
        ("2.40.0", "backup-supervisor-broken", Severity.BLOCKER),
        ("2.43.0", "backup-supervisor-unknown", Severity.BLOCKER),
        ("2.44.0", "backup-supervisor", Severity.OK),
        ("2.113.18", "backup-supervisor-broken", Severity.BLOCKER),
        ("6.12.4", "backup-supervisor", Severity.OK),
        ("2026.4.0", "backup-supervisor-unknown", Severity.BLOCKER),
        ("", "backup-supervisor-unknown", Severity.BLOCKER),
    ],
)
def test_what_the_supervisor_makes_of_volumes(os_version: str, code: str, severity: Severity) -> None:
    assert codes(list(check_plans((VOLUMES,), Config(), Room(), os_version=os_version)))[code] is severity


def test_the_supervisor_is_the_one_that_the_images_own_name_tells_and_no_folder() -> None:
    config = Config(image_name="/srv/kit-v17.7.1/balena-cloud-raspberrypi3-64-2.113.18-v14.9.4.img.gz")
    found = codes(list(check_plans((VOLUMES,), config, Room(), os_version="2.113.18")))
    assert found["backup-supervisor-broken"] is Severity.BLOCKER
    config = Config(image_name="/srv/kit-v17.7.1/image.gz")
    assert "backup-supervisor-unknown" in codes(list(check_plans((VOLUMES,), config, Room(), os_version="2023.10.0")))


def test_without_a_fleet_nothing_is_restored() -> None:
    found = check_plans((VOLUMES,), Config(), Room(), os_version="5.0.0", managed=False)
    assert codes(list(found))["backup-unmanaged"] is Severity.WARNING


def test_skipped_files_are_named_and_counted() -> None:
    skipped = tuple(Skipped(path=f"/run/a\n{number}", reason="a FIFO") for number in range(7))
    plan = replace(PLAIN, skipped=skipped, skipped_count=7)
    (told,) = [f for f in check_plans((plan,), Config(), Room()) if f.code == "backup-skips"]
    assert "7" in told.cause and "'/run/a\\n4': a FIFO; and 2 more" in told.cause


def test_settings_that_are_not_used_are_told() -> None:
    config = Config(backup_directories=("/srv",), backup_script="make", backup_volumes=("data=/x",))
    script = replace(VOLUMES, script="/home/make")
    assert codes(list(check_plans((script,), config, Room())))["backup-directories-unused"] is Severity.WARNING
    assert "backup-directories-unused" not in codes(list(check_plans((PLAIN, VOLUMES), config, Room())))


@pytest.mark.parametrize(
    ("room", "code"),
    [
        (Room(home_free_bytes=79 * MIB), "backup-no-room-home"),
        (Room(data_free_bytes=79 * MIB), "backup-no-room-data"),
        (Room(data_grown_bytes=189 * MIB), "backup-no-room-unpacked"),
    ],
)
def test_two_backups_need_room_beside_each_other(room: Room, code: str) -> None:
    """40 MiB each, of which the supervisor unpacks one to 110."""

    def found(room: Room) -> dict[str, Severity]:
        return codes(list(check_plans((PLAIN, VOLUMES), Config(), room, os_version="2.44.0")))

    assert found(room)[code] is Severity.BLOCKER
    one_more = Room(**{key: value and value + MIB for key, value in vars(room).items()})
    assert Severity.BLOCKER not in found(one_more).values()
    assert found(Room())["backup-volumes"] is Severity.WARNING


def test_attributes_are_told() -> None:
    assert plain(replace(PLAIN, attributes_count=3))["backup-attributes"] is Severity.WARNING


def test_the_made_archive_is_measured_again() -> None:
    assert (
        codes(list(check_result(RESULT, VOLUMES, Room(data_free_bytes=50 * MIB, data_grown_bytes=160 * MIB), 50 * MIB)))
        == {}
    )
    found = codes(
        list(check_result(RESULT, VOLUMES, Room(data_free_bytes=49 * MIB, data_grown_bytes=159 * MIB), 50 * MIB))
    )
    assert found == {"backup-too-large": Severity.BLOCKER, "backup-no-room-unpacked": Severity.BLOCKER}


def test_what_was_skipped_while_making_it_is_told() -> None:
    result = replace(RESULT, skipped=(Skipped(path="/x", reason="gone"),), skipped_count=1)
    assert codes(list(check_result(result, PLAIN, Room(), 0))) == {"backup-skipped": Severity.WARNING}


LASTLOG = SparseFile(path="/var/log/lastlog", size_bytes=423 * GIB, hole_bytes=423 * GIB - 4096)


def test_a_lastlog_of_423_gib_is_named_with_its_size_and_the_time_it_takes() -> None:
    plan = replace(PLAIN, sparse=(LASTLOG,), expected_s=2.5 * 3600)
    found = {f.code: f for f in check_plans((plan,), Config(), Room())}
    assert found["backup-sparse"].severity is Severity.WARNING
    assert "'/var/log/lastlog' has 423 GiB, of which 423 GiB are holes" in found["backup-sparse"].cause
    assert found["backup-sparse"].cause.endswith("making the backup takes at least 2.5 hours on this device")
    assert "truncate -s 0 FILE" in found["backup-sparse"].remedy
    assert found["backup-slow"].severity is Severity.WARNING


def test_volumes_with_more_holes_than_resin_data_has_room_are_refused() -> None:
    """The supervisor's busybox writes the zeros out."""
    plan = replace(VOLUMES, sparse=(LASTLOG,), unpacked_bytes=423 * GIB)
    found = codes(list(check_plans((plan,), Config(), Room(data_grown_bytes=100 * GIB), os_version="2.44.0")))
    assert found["backup-no-room-unpacked"] is Severity.BLOCKER


@pytest.mark.parametrize(("minutes", "slow"), [(0, False), (59, False), (61, True)])
def test_a_backup_of_more_than_an_hour_is_warned_of(minutes: int, slow: bool) -> None:
    plans = (replace(PLAIN, expected_s=minutes * 30), replace(PLAIN, expected_s=minutes * 30))
    assert ("backup-slow" in codes(list(check_plans(plans, Config(), Room())))) is slow


def test_a_backup_and_the_image_of_a_flasher_share_the_room_in_home() -> None:
    image, home = image_inside(), Config(home_dir="/root")
    plain, both = find_room(some_survey(None, home)), find_room(some_survey(None, home, image=image))
    assert plain.home_free_bytes and both.home_free_bytes == plain.home_free_bytes - image.file_bytes
