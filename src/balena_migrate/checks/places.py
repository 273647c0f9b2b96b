# SPDX-License-Identifier: Apache-2.0
"""Can stage 2 reach what stage 1 leaves for it? It mounts file systems by their UUIDs, and has no programs for more."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.core.paths import STATE_DIR
from balena_migrate.facts import DiskFacts, Mount
from balena_migrate.findings import BLOCKS, Code, Finding, blocker
from balena_migrate.survey import Survey

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
RAM_DISKS = ("ram", "zram")
BY_A_PROGRAM = "fuse"
"""How the names of their types begin: fuse.sshfs, fuseblk."""

CODES = (
    Code(
        "place-unreachable",
        BLOCKS,
        "HOME_DIR, the image, the tool's own folder or the boot folder is where stage 2 cannot reach it: in memory, on"
        " the network, on LVM or encryption, or below a bind mount.",
        "Move the files to a folder of the root file system, and set HOME_DIR or IMAGE_NAME to it.",
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    config, loader = survey.config, survey.boot_loader
    move = "move the files to a folder of the root file system, and set HOME_DIR to it"
    places = {"HOME_DIR": (config.home_dir, move)}
    if config.image_name:
        places["the image"] = (config.in_home(config.image_name), "move it to a folder of the root file system")
    places["the tool's own folder"] = (STATE_DIR, "migrate while it is on the root file system or a partition")
    if loader:
        places["the boot folder"] = (loader.boot_folder(survey.facts), "mount the whole file system there")
    told: set[str] = set()
    for what, (path, remedy) in places.items():
        mount, obstacle = find_obstacle(survey.facts.disks, path)
        if mount and obstacle and mount.mount_point not in told:
            told.add(mount.mount_point)
            yield blocker("place-unreachable", f"{what} ({path}) is on {mount.mount_point}, {obstacle}", remedy)


def find_obstacle(disks: DiskFacts, path: str) -> tuple[Mount | None, str]:
    """The first mount above the path that stage 2 cannot mount again, and why; "" where there is none.

    The root file system itself is judged elsewhere.
    """
    for mount in disks.mounts_above(path):
        if mount.mount_point != "/" and (obstacle := _obstacle(disks, mount)):
            return mount, obstacle
    return None, ""


def _obstacle(disks: DiskFacts, mount: Mount) -> str:
    if mount.fstype in IN_MEMORY:
        return f"which is in memory ({mount.fstype}): it is gone after the reboot"
    device = disks.find_device(mount.source)
    if device is None or mount.fstype.startswith(BY_A_PROGRAM):
        return f"which is {mount.fstype}: stage 2 mounts file systems of partitions only"
    if mount.root != "/":
        return f"which shows {mount.root} of {mount.source} only: stage 2 mounts whole file systems"
    for part in disks.chain(device):
        if part.layer in RAM_DISKS:
            return f"which is in memory ({part.layer}): it is gone after the reboot"
        if part.layer:
            return f"which needs {part.path} ({part.layer}): stage 2 has neither programs nor a network for that"
    if not device.uuid:
        return f"which has no UUID by which stage 2 would find {mount.source}"
    return ""
