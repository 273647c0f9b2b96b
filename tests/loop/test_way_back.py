# SPDX-License-Identifier: Apache-2.0
"""What init puts back by busybox alone: config.txt, for a firmware that would start stage 2 again and again.

On ext4, as many a workstation cannot mount FAT; rehearsals on Raspberry Pis do it on theirs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from balena_migrate.core.units import MIB
from balena_migrate.stage2 import kernel

pytestmark = [
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

UUID = str(uuid.uuid4())
"""A new one in each process: loop devices of others are seen here as well."""
AS_IT_WAS, CHANGED = "arm_64bit=1\n", "arm_64bit=1\ninitramfs /balena-migrate-initramfs followkernel\n"


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    """A boot partition that stage 1 has changed."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/config.txt").write_text(CHANGED)
    card = tmp_path / "card"
    with card.open("wb") as file:
        file.truncate(16 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-U", UUID, "-d", tmp_path / "tree", card)
    name = run("losetup", "--find", "--show", card)
    yield name
    run("losetup", "--detach", name)


def put_back(root: Path, uuid: str) -> subprocess.CompletedProcess[str]:
    """The script in an initramfs that has nothing else."""
    folder = root / "balena-migrate/way-back"
    for path in (folder, root / "balena-migrate/base", root / "dev", root / "proc"):
        path.mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "balena-migrate/base/busybox")
    script = resources.files("balena_migrate.initramfs.composed").joinpath("way_back.sh").read_text()
    assert "WAIT_S=60\n" in script and "mount -t vfat " in script
    script = script.replace("WAIT_S=60\n", "WAIT_S=1\n").replace("mount -t vfat ", "mount -t ext4 ")
    for name, text in (("put-back", script), ("device", f"UUID={uuid}\n"), ("name", "config.txt\n")):
        (folder / name).write_text(text)
    (folder / "content").write_text(AS_IT_WAS)
    chroot = "chroot . /balena-migrate/base/busybox sh /balena-migrate/way-back/put-back"
    command = f"mount --bind /dev dev && mount -t proc proc proc && exec {chroot}"
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", command]
    return subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False, timeout=60)


def files_on(device: str, point: Path) -> dict[str, str]:
    with kernel.mounted(device, point, "ext4", read_only=True):
        return {path.name: path.read_text() for path in point.iterdir() if path.is_file()}


def test_config_txt_is_as_it_was_and_nothing_else_is_left(device: str, tmp_path: Path) -> None:
    done = put_back(tmp_path / "initramfs", UUID)
    assert (done.returncode, done.stdout) == (0, "balena-migrate: config.txt is as it was before stage 1\n"), done
    assert files_on(device, tmp_path / "mounted") == {"config.txt": AS_IT_WAS}


def test_what_stage_2_has_restored_already_is_not_written_again(device: str, tmp_path: Path) -> None:
    point = tmp_path / "mounted"
    with kernel.mounted(device, point, "ext4"):
        (point / "config.txt").write_text(AS_IT_WAS)
        before = (point / "config.txt").stat().st_ino
    done = put_back(tmp_path / "initramfs", UUID)
    assert (done.returncode, done.stdout) == (0, ""), done
    with kernel.mounted(device, point, "ext4", read_only=True):
        assert (point / "config.txt").stat().st_ino == before


def test_a_boot_partition_that_does_not_appear_is_not_waited_for_without_end(device: str, tmp_path: Path) -> None:
    """Init reboots then: nothing more can be done."""
    done = put_back(tmp_path / "initramfs", str(uuid.uuid4()))
    assert (done.returncode, done.stdout) == (1, "")
    assert files_on(device, tmp_path / "mounted") == {"config.txt": CHANGED}
