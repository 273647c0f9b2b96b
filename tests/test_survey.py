# SPDX-License-Identifier: Apache-2.0
"""What moves along, put together from a device, its settings and an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from balena_migrate import checks
from balena_migrate.core.balena import CONFIG_JSON
from balena_migrate.core.kit import SUMS_FILE
from balena_migrate.core.system import System
from balena_migrate.findings import Finding, Severity, blocker
from balena_migrate.images import Image
from balena_migrate.images.scan import read_image
from balena_migrate.settings import Config, Keep, Probe
from balena_migrate.survey import Survey, follow_links, survey_with
from tests.support.facts import pc_facts
from tests.support.images import BOOT_FILES, BOOT_SECTORS, SECTOR, make_image
from tests.support.kit import make_kit

pytestmark = pytest.mark.processes

FLEET = {
    "apiEndpoint": "https://api.example.com",
    "apiKey": "SECRETVALUE",
    "applicationId": "17",
    "deviceType": "raspberrypi3",
}


@pytest.fixture
def device(tmp_path: Path) -> System:
    root = tmp_path / "root"
    for folder in ("etc", "home", "srv/app"):
        (root / folder).mkdir(parents=True)
    (root / "etc/hostname").write_text("gate-7\n")
    (root / "srv/app/data").write_text("x")
    return System(root)


def an_image(tmp_path: Path, config_json: Mapping[str, object] | None) -> Image:
    files = dict(BOOT_FILES)
    del files["config.json"]
    if config_json is not None:
        files["config.json"] = json.dumps(config_json).encode()
    path = tmp_path / "image"
    path.write_bytes(make_image(tmp_path, files))
    return read_image(path, tmp_path, lambda done, total: None)


def surveyed(device: System, image: Image, config: Config) -> Survey:
    return survey_with(device, config, pc_facts(), image, kit=None, work_dir=Path("/none"))


def config(**values: object) -> Config:
    return Config(home_dir="/home", skip_checks=tuple(Probe), **values)  # type: ignore[arg-type]


def codes(survey: Survey, severity: Severity) -> set[str]:
    assert "SECRETVALUE" not in repr(survey)
    found: tuple[Finding, ...] = checks.run(survey)
    return {finding.code for finding in found if finding.severity is severity}


def boot_config(survey: Survey) -> object:
    return next((json.loads(file.content) for file in survey.boot_files() if file.path == CONFIG_JSON), None)


def test_the_users_config_json_lies_over_the_images(device: System, tmp_path: Path) -> None:
    (device.root / "home/fleet.json").write_text(json.dumps(FLEET))
    image = an_image(tmp_path, {"deviceType": "raspberrypi3", "persistentLogging": True, "apiKey": "other"})
    survey = surveyed(device, image, config(config_json="fleet.json", keep=(Keep.HOSTNAME,)))
    assert boot_config(survey) == {**FLEET, "persistentLogging": True, "hostname": "gate-7"}
    assert "keep" in codes(survey, Severity.OK)


def test_the_images_own_config_json_is_judged_and_kept(device: System, tmp_path: Path) -> None:
    good = surveyed(device, an_image(tmp_path, FLEET), config())
    assert "config-json-missing" not in codes(good, Severity.WARNING)
    assert boot_config(good) == FLEET
    bad = surveyed(device, an_image(tmp_path, {**FLEET, "apiKey": ""}), config())
    assert "config-json-no-key" in codes(bad, Severity.BLOCKER)


def test_no_config_json_at_all_is_told_and_none_is_made_up(device: System, tmp_path: Path) -> None:
    survey = surveyed(device, an_image(tmp_path, None), config())
    assert "config-json-missing" in codes(survey, Severity.WARNING)
    assert boot_config(survey) is None


@pytest.mark.parametrize("content", [None, '{"apiKey": "SECRETVALUE",}'])
def test_a_config_json_that_cannot_be_read_is_a_blocker(device: System, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (device.root / "home/fleet.json").write_text(content)
    survey = surveyed(device, an_image(tmp_path, FLEET), config(config_json="fleet.json"))
    assert "config-json" in codes(survey, Severity.BLOCKER)


def test_volumes_are_judged_by_the_images_version(device: System, tmp_path: Path) -> None:
    settings = config(backup_volumes=("data=/srv/app",))
    survey = surveyed(device, an_image(tmp_path, FLEET), settings)
    assert [plan.name_on_data for plan in survey.payload.backups] == ["migration-backup.tgz", "backup.tgz"]
    # the image is 2.15.1
    assert "backup-supervisor-old" in codes(survey, Severity.WARNING)


def test_links_in_settings_are_followed_to_where_the_files_are(device: System) -> None:
    """The name of a log drive may be another disk's after the next start, its UUID not."""
    folder = device.root / "dev/disk/by-uuid"
    folder.mkdir(parents=True)
    (folder / "c5d0").symlink_to("../../sdb1")
    (device.root / "srv/usb").mkdir(parents=True)
    (device.root / "migrate").symlink_to("srv/usb")
    (device.root / "srv/usb/balena.img.gz").symlink_to("/srv/images/one.img.gz")
    found = follow_links(
        device, Config(home_dir="/migrate", image_name="balena.img.gz", log_drive="/dev/disk/by-uuid/c5d0")
    )
    assert (found.home_dir, found.image_name, found.log_drive) == ("/srv/usb", "/srv/images/one.img.gz", "/dev/sdb1")
    for path in ("/dev/sdb1", "/dev/disk/by-uuid/none", ""):
        assert follow_links(device, Config(home_dir="/none", log_drive=path)).log_drive == path


def pc_image(folder: Path, files: Mapping[str, bytes], *, drop: str = "") -> Image:
    """An image for a PC that is older than balenaOS's own GRUB for BIOS, with these files besides."""
    device_type = {"slug": "intel-nuc", "arch": "amd64", "yocto": {"machine": "genericx86-64"}}
    content = {**BOOT_FILES, "device-type.json": json.dumps(device_type).encode(), "vmlinuz": b"kernel", **files}
    path = folder / "image"
    path.write_bytes(make_image(folder, {name: data for name, data in content.items() if name != drop}))
    return read_image(path, folder, lambda done, total: None)


def wifi_networks(device: System, count: int) -> None:
    folder = device.root / "etc/wpa_supplicant"
    folder.mkdir()
    networks = (f'network={{\n  ssid="shop {n}"\n  psk="a passphrase"\n}}\n' for n in range(count))
    (folder / "wpa_supplicant.conf").write_text("country=GB\n" + "".join(networks))


def boot_finding(survey: Survey) -> Finding:
    (found,) = (finding for finding in checks.run(survey) if finding.code.startswith("image-boot"))
    return found


@pytest.mark.parametrize(("count", "code"), [(1, "image-boot-room"), (90, "image-boot-full")])
def test_the_room_in_resin_boot_is_judged_before_anything_is_changed(
    device: System, tmp_path: Path, count: int, code: str
) -> None:
    """A chain of shops with 90 networks, on an image whose boot partition is nearly full."""
    wifi_networks(device, count)
    image = pc_image(tmp_path, {"splash.img": bytes((BOOT_SECTORS - 350) * SECTOR)})
    survey = surveyed(device, image, config(migrate_all_wifis=True))
    assert survey.boot_room
    assert boot_finding(survey).code == code, survey.boot_room.text
    assert survey.boot_room.file_count == count + 2, "the networks, config.json, and grub.cfg"


def test_a_folder_in_the_place_of_a_file_is_found_by_check(device: System, tmp_path: Path) -> None:
    image = pc_image(tmp_path, {"grub/README": b"", "grub/grub.cfg/old": b""})
    found = boot_finding(surveyed(device, image, config()))
    assert (found.code, found.severity) == ("image-boot-files", Severity.BLOCKER)
    assert "grub/grub.cfg is a folder there" in found.cause


def test_an_image_without_anything_to_start_is_found_by_check(device: System, tmp_path: Path) -> None:
    image = pc_image(tmp_path, {}, drop="vmlinuz")
    found = boot_finding(surveyed(device, image, config()))
    assert (found.code, found.severity) == ("image-boot-files", Severity.BLOCKER)
    assert "nor a kernel" in found.cause


def test_an_image_for_another_device_is_not_judged_by_its_room(device: System, tmp_path: Path) -> None:
    survey = surveyed(device, an_image(tmp_path, FLEET), config())
    assert survey.boot_room is None
    assert "image-device-type" in codes(survey, Severity.BLOCKER)


def test_the_network_settings_are_judged_for_the_version_of_the_image(device: System, tmp_path: Path) -> None:
    """The image of this test is of 2.15.1, whose wpa_supplicant cannot do WPA3."""
    folder = device.root / "etc/wpa_supplicant"
    folder.mkdir()
    (folder / "wpa_supplicant.conf").write_text('network={\nssid="Barn"\nkey_mgmt=SAE\nsae_password="SECRETVALUE"\n}\n')
    survey = surveyed(device, an_image(tmp_path, FLEET), config(migrate_all_wifis=True))
    assert survey.payload.selection.profiles == ()
    (problem,) = survey.payload.network.problems
    assert "SAE" in problem.reason and survey.image and survey.image.identity.os_version in problem.reason


def test_what_stage_2_gets_of_the_kit_is_compared_with_its_list(device: System, tmp_path: Path) -> None:
    """Not what stage 1 alone needs, which would take too long."""
    kit = make_kit(tmp_path / "kit")
    nothing = blocker("image", "not read")

    def found() -> tuple[str, ...]:
        return survey_with(device, config(), pc_facts(), nothing, kit=kit, work_dir=Path("/none")).kit_faults

    assert found() == ()
    (kit.more / "start.py").unlink()
    assert found() == ()
    (kit.base / "ld.so").write_text("another")
    assert found() == ("base/ld.so was changed: its SHA-256 is another",)
    (kit.path / SUMS_FILE).unlink()
    assert len(found()) == 1 and SUMS_FILE in found()[0]
