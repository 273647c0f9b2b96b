# SPDX-License-Identifier: Apache-2.0
"""A kit in its archive, which nobody has to unpack to know what it would create."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.kit import Kit
from balena_migrate.core.kit_sums import check_folder
from balena_migrate.workstation.kit.archive import write_archive
from balena_migrate.workstation.kit.self_extracting import write_self_extracting
from balena_migrate.workstation.kit.unpacked import check_archive
from tests.support.kit import make_kit

NAME = "balena-migrate-amd64"


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return make_kit(tmp_path / NAME)


def pack(kit: Kit) -> Path:
    path = kit.path.with_suffix(".tar.gz")
    with path.open("wb") as stream:
        write_archive(kit.path, stream, NAME)
    return path


def pack_to_one_file(kit: Kit) -> Path:
    path = kit.path.with_suffix(".run")
    write_self_extracting(kit, pack(kit), path)
    return path


@pytest.mark.parametrize("form", [pack, pack_to_one_file])
def test_an_archive_is_compared_as_its_folder(kit: Kit, form: Callable[[Kit], Path]) -> None:
    assert check_archive(form(kit)) == check_folder(kit.path)
    (kit.base / "ld.so").write_text("another")
    (kit.more / "start.py").unlink()
    (kit.path / "balena-stage1").chmod(0o644)
    found = check_archive(form(kit))
    assert found == check_folder(kit.path)
    assert [fault.split()[0] for fault in found.faults] == ["balena-stage1", "base/ld.so", "more/start.py"]


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


EVIL = {
    "above": (member(f"{NAME}/../../etc/cron.d/evil", size=4), "../etc/cron.d/evil"),
    "absolute": (member("/etc/cron.d/evil", size=4), "/etc/cron.d/evil"),
    "beside": (member("other/evil", size=4), "other/evil"),
    "folder beside": (member("other/folder", type=tarfile.DIRTYPE), "other/folder"),
    "folder above": (member(f"{NAME}/../folder", type=tarfile.DIRTYPE), f"{NAME}/../folder"),
    "no name": (member("./", size=4), " was added"),
    "link out": (member(f"{NAME}/x", type=tarfile.SYMTYPE, linkname="../../etc"), "x was added"),
    "link in place of a file": (member(f"{NAME}/base/ld.so", type=tarfile.SYMTYPE, linkname="/lib/ld.so"), "twice"),
    "hard link": (member(f"{NAME}/x", type=tarfile.LNKTYPE, linkname="/etc/shadow"), "x was added"),
    "device": (member(f"{NAME}/x", type=tarfile.CHRTYPE, devmajor=1, devminor=1), "x was added"),
    "second content": (member(f"{NAME}/base/ld.so", size=4), "base/ld.so is there twice"),
}


@pytest.mark.parametrize("name", EVIL)
def test_what_tar_would_put_elsewhere_is_a_fault(kit: Kit, name: str, tmp_path: Path) -> None:
    info, fault = EVIL[name]
    with tarfile.open(pack(kit)) as old, tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as new:
        for each in old.getmembers():
            new.addfile(each, old.extractfile(each) if each.isreg() else None)
        new.addfile(info, io.BytesIO(b"evil") if info.size else None)
    found = check_archive(tmp_path / "evil.tar.gz")
    assert fault in "\n".join(found.faults)


@pytest.mark.parametrize("form", [pack, pack_to_one_file])
def test_an_archive_that_was_cut_or_damaged(kit: Kit, form: Callable[[Kit], Path]) -> None:
    path = form(kit)
    whole = path.read_bytes()
    for place in (0, 25, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:place])
        with pytest.raises(FileError, match="damaged"):
            check_archive(path)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(FileError, match="damaged"):
            check_archive(path)


def test_a_changed_script_is_found(kit: Kit) -> None:
    path = pack_to_one_file(kit)
    path.write_bytes(path.read_bytes().replace(b"umask 077", b"umask 000"))
    with pytest.raises(FileError, match="SHA-256 does not match"):
        check_archive(path)


@pytest.mark.parametrize("name", ["x/file", "/file", ".", "file"])
def test_an_archive_of_something_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("text")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "file", name)
    with pytest.raises(FileError, match="has no base/SHA256SUMS"):
        check_archive(tmp_path / "x.tar.gz")


def test_an_archive_that_is_no_folder_but_the_root(kit: Kit, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for path in sorted(path for path in kit.path.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                info = archive.gettarinfo(fileobj=file)
                info.name = f"/{path.relative_to(kit.path)}"
                archive.addfile(info, file)
    with pytest.raises(FileError, match="has no base/SHA256SUMS"):
        check_archive(tmp_path / "x.tar.gz")
