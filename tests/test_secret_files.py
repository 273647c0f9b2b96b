# SPDX-License-Identifier: Apache-2.0
"""All of stage 1 on a device full of secrets: who could read what it writes, and when; what /boot holds of them; and
whether links that somebody planted lead it anywhere."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate import survey as survey_module
from balena_migrate.cli.verbs.run import log_to_file
from balena_migrate.core import journal
from balena_migrate.core.kit import find_kit_in
from balena_migrate.core.paths import INITRAMFS_NAME, KNOWN_IMAGE, PATCHES, STAGE2_CONFIG, STATE_DIR
from balena_migrate.core.system import Result, System, run_command
from balena_migrate.images import Image
from balena_migrate.settings import Config, Keep
from balena_migrate.survey import Survey, accept, find_known_image, survey_with
from tests.initramfs.device import make_device
from tests.support.facts import pc_facts
from tests.support.images import BOOT_FILES, make_image
from tests.support.kit import make_kit
from tests.support.surveys import no_progress, stage1_of
from tests.support.system import device_with, quiet

pytestmark = pytest.mark.processes

API_KEY, PASSPHRASE, IN_BACKUP, PROXY = "Zx9qKw7pL2vT4", "Jb3 &nRs8?dF6", "Qm5wYh1cX9kP3", "Vg2eUt7aLz8N4"
SECRETS = (API_KEY, PASSPHRASE, IN_BACKUP, PROXY)
FILES = {
    "etc/wpa_supplicant/wpa_supplicant.conf": f'network={{\n ssid="home"\n psk="{PASSPHRASE}"\n}}\n',
    "etc/secret": IN_BACKUP,
    "home/fleet.json": json.dumps({"apiEndpoint": "https://api.example.com", "apiKey": API_KEY}),
    "home/backup.sh": '#!/bin/sh\numask 0\ntar -czf "$1" -C / etc/hostname\n',
}
CONFIG = Config(
    home_dir="/home",
    image_name="image",
    config_json="fleet.json",
    migrate_all_wifis=True,
    keep=(Keep.HOSTNAME,),
    proxy=f"http://me:{PROXY}@192.0.2.1:3128",
    no_flash=False,
)
CONFIGS = {"by hand": CONFIG, "by a script": replace(CONFIG, backup_script="backup.sh")}


@pytest.fixture
def device(tmp_path: Path) -> System:
    root = tmp_path / "device"
    make_device(root)
    facts = pc_facts()
    for folder in ("etc", "var/lib", "var/cache", "home", "boot/grub"):
        (root / folder).mkdir(parents=True)
    for name, text in {**FILES, **facts.boot.files}.items():
        (root / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / name.lstrip("/")).write_text(text)
    (root / "home/backup.sh").chmod(0o755)
    (root / "home/image").write_bytes(make_image(tmp_path, BOOT_FILES))
    (root / "home").chmod(0o777)
    (tmp_path / "work").mkdir(mode=0o700)
    make_kit(tmp_path / "kit")
    disks = device_with(root, facts.disks)

    def run(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        if argv[0].startswith("/home/"):  # it is not on the device that we run on
            argv = [f"{root}{argv[0]}", f"{root}{argv[1]}"]
        return disks.run(argv) if argv[0] == "blkid" else run_command(argv, data, timeout_s)

    return System(root, runner=run)


def surveyed(device: System, config: Config, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """What is found on the device, with an image that could be of its type, which is remembered."""
    work = device.root.parent / "work"
    monkeypatch.setattr(survey_module, "now_s", lambda: time.time() + 3600)
    image = find_known_image(device, config, work, no_progress, fresh=False)
    assert isinstance(image, Image)
    identity = replace(image.identity, slug="intel-nuc", has_bios_boot_code=True, files=(*BOOT_FILES, "grub/grub.cfg"))
    kit = find_kit_in(device.root.parent / "kit")
    return survey_with(device, config, pc_facts(), replace(image, identity=identity), kit=kit, work_dir=work)


def migrate(device: System, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage 1, from the survey to the armed device, with its log."""
    survey = surveyed(device, config, monkeypatch)
    with logged(device):
        stage1 = stage1_of(accept(survey, ()))
        journal.apply(device, (*stage1.actions(), *stage1.boot_actions()), quiet, arm=True)


@contextlib.contextmanager
def logged(device: System) -> Iterator[None]:
    """As `run` does it; afterwards no handler is left."""
    root, ours = logging.getLogger(), logging.getLogger("balena_migrate")
    before, levels = list(root.handlers), [handler.level for handler in root.handlers]
    try:
        log_to_file(device)
        yield
    finally:
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
            handler.close()
        for handler, level in zip(before, levels, strict=True):
            handler.setLevel(level)
        ours.setLevel(logging.NOTSET)


# Modes ----------------------------------------------------------------------------------------------------------------

watched: list[Callable[[str, tuple[object, ...]], None]] = []
"""Who gets to know what Python does to files; such a hook stays until the process ends."""
sys.addaudithook(lambda event, arguments: [watch(event, arguments) for watch in watched] and None)


def is_open(root: Path, path: Path) -> bool:
    """Whether others than its owner may do anything to the file."""
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    hidden = any(not stat.S_IMODE(folder.stat().st_mode) & 0o077 for folder in folders)
    return not hidden and bool(stat.S_IMODE(path.lstat().st_mode) & 0o077)


@contextlib.contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_stage_1_writes_is_roots_alone_from_its_first_byte(
    device: System, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing of umask's help, and with no later change of a mode: what a file has at last, it had at first.

    What is renamed or removed, or gets a mode, is looked at before. The folder that has the journal may be there, as
    somebody made it who unpacked a kit in it.
    """
    if name == "by hand":
        (device.root / STATE_DIR.lstrip("/")).mkdir(parents=True)
    before = set(device.root.rglob("*"))
    found: set[str] = set()

    def look(path: Path) -> None:
        if path.is_relative_to(device.root) and path.is_file() and not path.is_symlink() and path not in before:
            found.update({str(path.relative_to(device.root))} if is_open(device.root, path) else ())

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.chmod"):
            is_fd = isinstance(arguments[0], int)
            look(Path(os.readlink(f"/proc/self/fd/{arguments[0]}") if is_fd else os.fsdecode(arguments[0])))  # type: ignore[arg-type]

    def keep(*_: object, **__: object) -> None:
        """Changes no mode."""

    if name == "by hand":  # what a script makes gets its mode before it leaves its folder
        monkeypatch.setattr(os, "fchmod", keep)
    monkeypatch.setattr(os, "chmod", keep)
    monkeypatch.setattr(Path, "chmod", keep)
    watched.append(watch)
    try:
        with umask(0):
            migrate(device, CONFIGS[name], monkeypatch)
    finally:
        watched.remove(watch)
    new = set(device.root.rglob("*")) - before
    for path in new:
        look(path)
    assert {f"{STATE_DIR}/stage1.log", f"{STATE_DIR}/journal.jsonl", PATCHES, STAGE2_CONFIG, KNOWN_IMAGE} <= {
        f"/{path.relative_to(device.root)}" for path in new
    }
    menu = {path for path in found if path.startswith("boot/grub/")}
    assert found - menu == set()
    assert not menu or name == "by a script", "what the menu may be read for comes after its first byte"


# What /boot holds -----------------------------------------------------------------------------------------------------


def forms(secret: str) -> Iterator[bytes]:
    """A secret in each way in which a program may write it, wherever it begins in a longer text."""
    for data in (secret.encode(), secret.encode("utf-16-le"), json.dumps(secret)[1:-1].encode()):
        yield from (data, data.hex().encode(), data.hex().upper().encode())
        for before in range(3):
            yield base64.b64encode(bytes(before) + data)[4 if before else 0 : -4]


def held(content: bytes) -> list[str]:
    return [secret for secret in SECRETS if any(form in content for form in forms(secret))]


@pytest.mark.parametrize(
    "write", [str.encode, lambda text: base64.b64encode(b"a" + text.encode()), lambda text: text.encode("utf-16")]
)
def test_the_search_finds_what_it_looks_for(write: Callable[[str], bytes]) -> None:
    assert held(b"before" + write(f"key={PASSPHRASE};")) == [PASSPHRASE]


def test_the_initramfs_in_boot_holds_no_secret(device: System, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(device, CONFIG, monkeypatch)
    initramfs = gzip.decompress(device.read_bytes(f"/boot/{INITRAMFS_NAME}"))
    assert STAGE2_CONFIG.lstrip("/").encode() in initramfs
    assert held(initramfs) == []
    assert held(device.read_bytes(PATCHES)) == [API_KEY, PASSPHRASE], "what is looked for is carried along"
    assert IN_BACKUP.encode() in gzip.decompress(device.read_bytes("/home/backup.tgz"))
    others = [path for path in (device.root / "boot").rglob("*") if path.is_file() and path.name != INITRAMFS_NAME]
    assert len(others) >= 3 and [path for path in others if held(path.read_bytes())] == []


def test_what_the_boot_files_hold_is_not_shown_to_more_people(device: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """A menu's passwords may be in custom.cfg: the hand-over has them, to put them back, and so has the initramfs."""
    (device.root / "boot/grub/custom.cfg").write_text(f'password root "{API_KEY}"\n')
    (device.root / "boot/grub/custom.cfg").chmod(0o600)
    with umask(0):
        migrate(device, CONFIG, monkeypatch)
    for path in ("/boot/grub/custom.cfg", STAGE2_CONFIG, f"/boot/{INITRAMFS_NAME}"):
        assert stat.S_IMODE(device.stat(path).st_mode) == 0o600


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("target", ["srv/victim/backup.tgz", "srv/victim"])
@pytest.mark.parametrize("planted", [".backup.tgz.balena-migrate", "backup.tgz"])
def test_a_link_that_a_user_planted_in_home_dir_leads_nowhere(
    device: System, planted: str, target: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup is a file of ours, and what the link leads to is as it was."""
    victim = device.root / "srv/victim"
    victim.mkdir(parents=True)
    (victim / "backup.tgz").write_text("of somebody else")
    (victim / "backup.tgz").chmod(0o644)
    (device.root / "home" / planted).symlink_to(os.path.relpath(device.root / target, device.root / "home"))
    migrate(device, CONFIGS[name], monkeypatch)
    assert [path.name for path in victim.iterdir()] == ["backup.tgz"]
    assert (victim / "backup.tgz").read_text() == "of somebody else"
    assert stat.S_IMODE((victim / "backup.tgz").stat().st_mode) == 0o644
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755
    made = (device.root / "home/backup.tgz").lstat()
    assert (stat.S_ISREG(made.st_mode), stat.S_IMODE(made.st_mode), made.st_uid) == (True, 0o600, os.geteuid())
