# SPDX-License-Identifier: Apache-2.0
"""/proc/self/mountinfo as kernels write it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.mountinfo import mounts_below, parse_mountinfo, read_mountinfo
from balena_migrate.core.system import System
from tests.support.corpus import corpus

TEXT = r"""
26 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,data=ordered
27 26 8:1 / /boot rw - vfat /dev/sda1 rw
28 26 8:3 /sub /mnt/with\040blank ro,nosuid shared:2 master:1 - ext4 /dev/sda3 rw,errors=remount-ro
""".lstrip()


def test_optional_fields_escapes_and_both_kinds_of_options() -> None:
    root, boot, blank = parse_mountinfo(TEXT)
    assert (root.mount_id, root.parent_id, root.device, root.super_options) == (26, 1, "8:2", ("rw", "data=ordered"))
    assert (boot.fstype, boot.source) == ("vfat", "/dev/sda1")
    assert (blank.mount_point, blank.root, blank.options) == ("/mnt/with blank", "/sub", ("ro", "nosuid"))
    assert blank.super_options == ("rw", "errors=remount-ro")


def test_what_is_no_mountinfo(tmp_path: Path) -> None:
    assert parse_mountinfo("") == ()
    (tmp_path / "proc/self").mkdir(parents=True)
    for text in ("26 1 8:2 /\n", "a b 8:2 / / rw - ext4 x rw\n", "\n\n"):
        with pytest.raises(ValueError, match=r"not a line|invalid literal"):
            parse_mountinfo(text)
        (tmp_path / "proc/self/mountinfo").write_text(text)
        with pytest.raises(FileError, match="mountinfo"):
            read_mountinfo(System(tmp_path))


def test_every_mountinfo_of_the_collection_is_read() -> None:
    files = [p for p in corpus("lsblk-blkid-mountinfo").rglob("*") if "mountinfo" in p.name and p.is_file()]
    read = 0
    for path in files:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        if " - " in text:
            read += len(parse_mountinfo(text)) > 0
    assert read > 3


def test_what_is_below_a_folder_comes_after_what_holds_it() -> None:
    """As after `mount --move /dev /root/dev`: the kernel lists /dev first, and the root after it."""
    text = """
20 1 0:1 / / rw - rootfs rootfs rw
21 30 0:5 / /root/dev rw - devtmpfs udev rw
22 21 0:6 / /root/dev/pts rw - devpts devpts rw
30 20 8:2 / /root ro - ext4 /dev/sda2 ro
31 30 8:3 / /root/usr ro - ext4 /dev/sda3 ro
32 31 8:4 / /root/usr rw - ext4 /dev/sda4 rw
33 20 8:5 / /rootless rw - ext4 /dev/sda5 rw
""".lstrip()
    found = [mount.mount_id for mount in mounts_below(parse_mountinfo(text), PurePosixPath("/root"))]
    assert found == [30, 21, 31, 22, 32]
    assert mounts_below(parse_mountinfo(text), PurePosixPath("/root/home")) == ()
