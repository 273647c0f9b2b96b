# SPDX-License-Identifier: Apache-2.0
"""A backup that the owner's own program makes."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from balena_migrate.carried.backup import BackupPlan, make_backup
from balena_migrate.carried.backup.script import TIME_LIMIT_S
from balena_migrate.core.changes import Undo, UndoRecord, take_back
from balena_migrate.core.errors import BackupError, CommandError, MigrateError
from balena_migrate.core.system import Result, System


def archive(names: Sequence[str], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A gzip tar of empty files, and of folders where the name ends on a slash."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", format=form) as tar:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(member)
    return data.getvalue()


def run(tmp_path: Path, content: bytes | None, volumes: tuple[str, ...] = ()) -> tuple[MigrateError | None, Path]:
    """Back up with a script that writes `content` to its argument."""

    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        assert (argv[0], timeout_s) == ("/script", TIME_LIMIT_S)
        assert stat.S_IMODE(Path(argv[1]).parent.stat().st_mode) == 0o700
        assert Path(argv[1]).name == "backup.tgz"
        if content is None:
            raise CommandError(list(argv), 3, "out of luck")
        if content:
            Path(argv[1]).write_bytes(content)
        return Result(stdout=b"", stderr=b"", returncode=0)

    target = tmp_path / "backup.tgz"
    target.write_text("older")
    plan = BackupPlan(name="backup.tgz", script="/script", volumes=volumes, name_on_data="x.tgz", left_out={})
    try:
        result = make_backup(System("/", runner=runner), plan, str(target), lambda done, total: None)
    except MigrateError as error:
        assert target.read_text() == "older"
        return error, target
    finally:
        assert os.listdir(tmp_path) == ["backup.tgz"]
    assert content is not None
    assert (result.size_bytes, result.file_count, result.name_on_data) == (len(content), 2, "x.tgz")
    assert result.archive_bytes == len(gzip.decompress(content))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    return None, target


def test_a_good_archive_is_taken_over(tmp_path: Path) -> None:
    content = archive(["etc/", "etc/hosts"])
    error, target = run(tmp_path, content)
    assert error is None
    assert target.read_bytes() == content


def test_an_archive_of_volumes_is_taken_over(tmp_path: Path) -> None:
    error, _ = run(tmp_path, archive(["./data/", "./data/x"]), ("data", "more"))
    assert error is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "did not make the backup"),
        (b"not gzip", "not a readable .tar.gz"),
        (gzip.compress(b"not tar" * 1000), "not a readable .tar.gz"),
        (archive(["a"] * 50)[:-20], "not a readable .tar.gz"),
        (archive(["a"])[:-8] + bytes(8), "not a readable .tar.gz"),
        (archive([]), "an empty archive"),
    ],
    ids=["nothing", "no gzip", "no tar", "cut", "bad checksum", "empty"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    error, _ = run(tmp_path, content)
    assert isinstance(error, BackupError) and reason in error.message


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["data/", "data/x"], "holds 'data'"),
        (["./etc/"], "'etc', which BACKUP_VOLUMES does not name"),
        (["./data"], "which is not a folder"),
        (["./data/", "./data/../../x"], "holds './data/../../x'"),
        (["/data/x"], "holds '/data/x'"),
    ],
)
def test_an_archive_that_the_supervisor_chokes_on_is_refused(tmp_path: Path, names: list[str], reason: str) -> None:
    error, _ = run(tmp_path, archive(names), ("data",))
    assert isinstance(error, BackupError) and reason in error.message


@pytest.mark.parametrize("target", ["/etc/shadow", "./data/../../etc/shadow", "./other/x", "data/x", ".", "./"])
def test_a_hard_link_out_of_the_volumes_is_refused(tmp_path: Path, target: str) -> None:
    """Wherever it is unpacked, another name of a file outside would be made."""
    error, _ = run(tmp_path, with_hard_link(target), ("data",))
    assert isinstance(error, BackupError) and f"a hard link to {target!r}" in error.message


def test_a_hard_link_between_volumes_is_taken_over(tmp_path: Path) -> None:
    error, _ = run(tmp_path, with_hard_link("./more/x"), ("data", "more"))
    assert error is None


def with_hard_link(target: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, kind in (("./data", tarfile.DIRTYPE), ("./data/x", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    return data.getvalue()


class PowerFails(BaseException):
    pass


def test_undo_removes_what_a_power_cut_left_of_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def runner(argv: Sequence[str], data: bytes | None, timeout_s: float | None) -> Result:
        Path(argv[1]).write_bytes(b"half of it")
        raise PowerFails

    target = tmp_path / "backup.tgz"
    plan = BackupPlan(name="backup.tgz", script="/script", volumes=(), name_on_data="x.tgz", left_out={})
    with monkeypatch.context() as patch:
        patch.setattr(System, "remove_tree", lambda *_: None)  # the power is off: nobody tidies up
        with pytest.raises(PowerFails):
            make_backup(System("/", runner=runner), plan, str(target), lambda done, total: None)
    assert [path.read_bytes() for path in tmp_path.rglob(target.name)] == [b"half of it"]
    take_back(System("/"), UndoRecord(undo=Undo.REMOVE, path=str(target)))
    assert os.listdir(tmp_path) == []


def test_a_failing_script_is_told_with_its_last_lines(tmp_path: Path) -> None:
    error, _ = run(tmp_path, None)
    assert isinstance(error, CommandError) and "out of luck" in str(error)


@pytest.mark.processes
def test_a_real_script(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("x")
    script = tmp_path / "make it"
    script.write_text(f'#!/bin/sh\nexec tar -C {tmp_path} -czf "$1" source\n')
    script.chmod(0o700)
    plan = BackupPlan(name="backup.tgz", script=str(script), name_on_data="x.tgz", left_out={})
    result = make_backup(System("/"), plan, str(tmp_path / "out.tgz"), lambda done, total: None)
    assert result.file_count == 2
    with tarfile.open(result.path) as tar:
        assert tar.getnames() == ["source", "source/file"]
