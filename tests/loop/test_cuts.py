# SPDX-License-Identifier: Apache-2.0
"""The judge of power cuts on real file systems: what was lost is found, what is put right by a start is none."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.status import DeviceState
from balena_migrate.workstation.lab.cuts.judge import Boots, Judge, Verdict, expected_status, looped, repair
from balena_migrate.workstation.lab.cuts.oldfiles import OldFiles, read_old_files
from balena_migrate.workstation.lab.cuts.overlay import overlaid
from balena_migrate.workstation.lab.cuts.replay import store
from balena_migrate.workstation.lab.cuts.starts import Loaded, Starts
from balena_migrate.workstation.lab.disks import FileSystem, make_disk, make_ext4, make_table, mounted_system
from balena_migrate.workstation.lab.recording import Request
from balena_migrate.workstation.lab.snapshot import read_tree

pytestmark = [pytest.mark.loop, pytest.mark.processes]

FILES = {
    "etc/hostname": b"depot\n",
    "etc/depot/name": b"west\n",
    "srv/data": bytes(range(256)) * 1024,
    "srv/depot/name": b"east\n",
    "boot/kernel": b"kernel" * 4096,
}


@pytest.fixture
def disk(tmp_path: Path) -> tuple[Path, FileSystem]:
    path = tmp_path / "disk.img"
    system = FileSystem(span=make_disk(path, 32 * MIB, table_id="0x1f2e3d4c"))
    make_ext4(path, system.span, label="root", uuid="0a1b2c3d-4e5f-4061-8273-849506172839")
    with mounted_system(path, [system]) as root:
        for name, content in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    return path, system


@pytest.fixture
def files(disk: tuple[Path, FileSystem]) -> OldFiles:
    path, system = disk
    with mounted_system(path, [system], read_only=True) as root:
        described = read_tree(root)
    return read_old_files(path, [system], described)


def changes(disk: tuple[Path, FileSystem], files: OldFiles, *requests: Request) -> tuple[str, ...]:
    path, system = disk
    with overlaid(path) as shown:
        store(shown, requests)
        with mounted_system(shown, [system], read_only=True) as root:
            return files.changes(shown, root, files.touched(requests), ())


def place_of(name: str, files: OldFiles) -> int:
    return next(start for start, _, path in files.contents if path == name)


def test_an_overlay_is_the_disk_and_leaves_it_as_it_is(disk: tuple[Path, FileSystem]) -> None:
    path, _ = disk
    before = path.read_bytes()
    with overlaid(path) as shown:
        assert shown.read_bytes() == before
        store(shown, [Request(start_bytes=MIB, content=b"x" * 4096)])
        assert shown.read_bytes()[MIB : MIB + 4096] == b"x" * 4096
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert str(path.parent) not in Path("/proc/mounts").read_text()


def test_files_that_are_as_they_were_are_found_so(disk: tuple[Path, FileSystem], files: OldFiles) -> None:
    assert changes(disk, files) == ()


def test_a_block_that_was_overwritten_is_found_though_no_inode_says_so(
    disk: tuple[Path, FileSystem], files: OldFiles
) -> None:
    inside = place_of("srv/data", files) + 8192
    assert changes(disk, files, Request(start_bytes=inside, content=b"!" * 512)) == ("~srv/data",)
    same = FILES["srv/data"][8192 : 8192 + 512]
    assert changes(disk, files, Request(start_bytes=inside, content=same)) == ()


def swap(one: Path, other: Path) -> None:
    """Each has the other's name."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda root: (root / "etc/hostname").write_text("other\n"), ("~etc/hostname",)),
        (lambda root: (root / "etc/hostname").chmod(0o600), ("~etc/hostname",)),
        (lambda root: (root / "etc/hostname").unlink(), ("-etc/hostname",)),
        (lambda root: (root / "etc/new").write_text(""), ("+etc/new",)),
        (lambda root: (root / "etc/link").symlink_to("/srv"), ("+etc/link",)),
        (lambda root: (root / "tmp-file").write_text(""), ()),
        (
            lambda root: (root / "etc").rename(root / "etc2"),
            ("-etc/depot/name", "-etc/hostname", "+etc2/depot/name", "+etc2/hostname"),
        ),
        (
            lambda root: swap(root / "etc", root / "srv"),
            ("+etc/data", "~etc/depot/name", "-etc/hostname", "-srv/data", "~srv/depot/name", "+srv/hostname"),
        ),
        (lambda root: swap(root / "etc/hostname", root / "boot/kernel"), ("~boot/kernel", "~etc/hostname")),
        (lambda root: shutil.copy(root / "etc/hostname", root / "etc/x").replace(root / "etc/hostname"), ()),
    ],
)
def test_what_the_kernel_changed_is_found(
    disk: tuple[Path, FileSystem], files: OldFiles, change: object, found: tuple[str, ...]
) -> None:
    path, system = disk
    with mounted_system(path, [system]) as root:
        change(root)  # type: ignore[operator]
    assert changes(disk, files) == found


@pytest.fixture
def journalled(disk: tuple[Path, FileSystem]) -> tuple[Path, FileSystem]:
    """The disk as it is while its file system is mounted: its journal is to be replayed."""
    path, system = disk
    with mounted_system(path, [system]) as root:
        (root / "etc/late").write_bytes(b"late" * 100)
        System().run(["sync", "--file-system", str(root)])
        copy = path.with_name("cut.img")
        shutil.copy(path, copy)
    return copy, system


def test_a_loop_device_goes_away_whoever_is_killed(disk: tuple[Path, FileSystem]) -> None:
    """The kernel takes it away with the last process that has it open."""
    path, system = disk
    with looped(path, system.span) as device:
        flag = Path("/sys/class/block", Path(device).name, "loop/autoclear")
        assert flag.read_text().strip() == "1"
        assert System().run(["blkid", "--probe", "--output", "value", device]).text.startswith("root")
    assert str(path) not in System().run(["losetup", "--all"]).text


def test_a_journal_that_is_replayed_is_no_repair(journalled: tuple[Path, FileSystem]) -> None:
    path, system = journalled
    assert repair(path, system.span) is False
    with mounted_system(path, [system], read_only=True) as root:
        assert (root / "etc/late").read_bytes() == b"late" * 100


def test_a_damaged_file_system_is_dead(disk: tuple[Path, FileSystem]) -> None:
    path, system = disk
    argv = ["debugfs", "-w", "-R", "clri /etc", f"{path}?offset={system.span.start_bytes}"]
    System().run(argv)
    with pytest.raises(LabError, match=r"damaged|repaired"):
        repair(path, system.span)


@pytest.mark.parametrize(
    ("lines", "result", "state"),
    [
        ([], False, DeviceState.NOTHING),
        (["begin"], False, DeviceState.PARTLY),
        (["begin", "intent", "done", "armed"], False, DeviceState.NOT_STARTED),
        (["begin", "intent", "done", "armed"], True, DeviceState.FAILED),
        (["begin", "intent", "armed", "undone", "end"], True, DeviceState.UNDONE),
        (["begin", "armed", "end", "begin", "intent"], False, DeviceState.PARTLY),
    ],
)
def test_the_journal_says_what_status_has_to_say(
    tmp_path: Path, lines: list[str], result: bool, state: DeviceState
) -> None:
    folder = tmp_path / "var/lib/balena-migrate"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("".join(f'{{"event": "{line}"}}\n' for line in lines) + '{"event": "do')
    if result:
        (folder / "stage2.json").write_text("{}")
    assert expected_status(tmp_path) is state


BEFORE = Starts(kernel=Loaded(path="/boot/kernel", digest="1"), initramfs=(), arguments=("ro",))
ARMED = Starts(kernel=Loaded(path="/boot/kernel", digest="1"), initramfs=(), arguments=("ro", "panic=30"))


@dataclass(frozen=True)
class Fixed:
    """A chain that starts the same from every disk; nothing, if it has nothing to start."""

    what: Starts | None
    boot_files: tuple[str, ...] = ()

    def starts(self, disk: Path) -> Starts:
        if self.what is None:
            raise LabError("there is no kernel")
        return self.what


def judge(disk: tuple[Path, FileSystem], files: OldFiles, starts: Starts | None, final: Path | None = None) -> Verdict:
    """What the judge says of the disk."""
    path, system = disk
    judge = Judge(
        chain=Fixed(starts),
        before=BEFORE,
        armed=ARMED,
        final=final,
        systems=(system,),
        files=files,
        described=files.described,
        may=("etc/ours",),
    )
    with overlaid(path) as shown:
        return judge.judge(shown, set())


@pytest.mark.parametrize(("starts", "boots"), [(BEFORE, Boots.OLD), (ARMED, Boots.STAGE2)])
def test_what_is_started_says_what_comes_up(
    disk: tuple[Path, FileSystem], files: OldFiles, starts: Starts, boots: Boots
) -> None:
    assert judge(disk, files, starts) == Verdict(boots=boots, status=DeviceState.NOTHING)


def test_files_that_changed_are_named_but_for_those_that_may(disk: tuple[Path, FileSystem], files: OldFiles) -> None:
    path, system = disk
    with mounted_system(path, [system]) as root:
        (root / "etc/ours").write_text("")
        (root / "etc/hostname").unlink()
    assert judge(disk, files, BEFORE).changed == ("-etc/hostname",)


@pytest.mark.parametrize("starts", [None, replace(BEFORE, kernel=Loaded(path="/boot/kernel", digest="2"))])
def test_nothing_or_something_else_is_dead(
    disk: tuple[Path, FileSystem], files: OldFiles, starts: Starts | None
) -> None:
    verdict = judge(disk, files, starts)
    assert verdict.boots is Boots.DEAD
    assert verdict.reason


def test_the_new_system_comes_up_where_it_is_whole(
    disk: tuple[Path, FileSystem], files: OldFiles, tmp_path: Path
) -> None:
    """With two partitions, of which the firmware and the first start need every byte."""
    final, copy = tmp_path / "final.img", tmp_path / "new.img"
    script = ["label: dos", "label-id: 0x11223344", "start=2048, size=8192", "start=10240, size=8192"]
    make_table(final, 32 * MIB, script)
    shutil.copy(final, copy)
    new = (copy, disk[1])
    assert judge(new, files, None, final) == Verdict(boots=Boots.NEW)
    for place in (512, 2 * MIB - 512, 6 * MIB):
        shutil.copy(final, copy)
        store(copy, [Request(start_bytes=place, content=b"!" * 512)])
        assert judge(new, files, None, final).boots is Boots.DEAD, place
    assert judge(disk, files, BEFORE, final).boots is Boots.OLD, "as long as the first sector is the old one"
