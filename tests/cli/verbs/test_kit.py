# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from balena_migrate.cli import guarded
from balena_migrate.cli.verbs.kit import kit
from balena_migrate.core.errors import ExitStatus, FileError, UsageError
from balena_migrate.core.kit import Kit
from tests.support.gnupg import gnupg_in
from tests.support.kit import make_kit, write_list


def test_list_says_what_is_built(tmp_path: Path) -> None:
    (tmp_path / "balena-migrate-armel/base").mkdir(parents=True)
    (tmp_path / "balena-migrate-armel/base/architecture").write_text("armel\n")
    done = CliRunner().invoke(kit, ["list", "--output", str(tmp_path)])
    assert done.exit_code == 0
    rows = {line.split()[0]: line for line in done.output.splitlines()}
    assert list(rows) == ["amd64", "i386", "arm64", "armhf", "armel"]
    assert rows["armel"].endswith("balena-migrate-armel")
    assert "armv6l" in rows["armel"]
    assert rows["arm64"].endswith("not built")


def test_unknown_architecture_is_refused() -> None:
    done = CliRunner().invoke(kit, ["build", "--architecture", "riscv64"])
    assert done.exit_code == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_verify_says_what_it_compared(tmp_path: Path, as_json: bool) -> None:
    made = make_kit(tmp_path / "kit")
    done = CliRunner().invoke(kit, ["verify", str(made.path), *(["--json"] if as_json else [])])
    assert done.exit_code == 0
    if as_json:
        document = json.loads(done.stdout)
        assert (document["intact"], document["signed"], document["faults"]) == (True, False, [])
        assert document["files"] == 12
    else:
        assert done.stdout == f"{made.path}: 12 files with 0 MiB are as they were made\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_verify_names_what_is_wrong(
    tmp_path: Path, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_kit(tmp_path / "kit")
    (made.more / "start.py").unlink()
    monkeypatch.setattr("sys.argv", ["kit", "verify", str(made.path), *(["--json"] if as_json else [])])
    assert guarded(kit) == ExitStatus.FAILED
    printed = capsys.readouterr()
    if as_json:
        assert json.loads(printed.out)["faults"] == ["more/start.py is missing"]
    else:
        assert printed.out == "more/start.py is missing\n"
    assert "1 of 12 files are not as they were made (copy the kit again, or build it again)" in printed.err


def test_verify_without_a_kit_is_wrong_use() -> None:
    done = CliRunner().invoke(kit, ["verify"])
    assert isinstance(done.exception, UsageError)
    assert "kit verify KIT" in done.exception.hint


def test_verify_on_a_device_compares_the_kit_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_kit(tmp_path / "kit")
    monkeypatch.setattr("balena_migrate.cli.verbs.kit.find_kit", lambda: made)
    assert str(made.path) in CliRunner().invoke(kit, ["verify"]).stdout


@pytest.mark.parametrize("words", [["build"], ["list"], ["verify", "kit.tar.gz"]])
def test_what_only_a_workstation_does_says_so_on_a_device(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kit leaves out what does it; `list` needs nothing of that."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kit.tar.gz").touch()
    for name in [name for name in sys.modules if name.startswith("balena_migrate.workstation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "balena_migrate.workstation", None)
    done = CliRunner().invoke(kit, words)
    if words == ["list"]:
        assert done.exit_code == 0
    else:
        assert isinstance(done.exception, UsageError)


@pytest.mark.processes
def test_each_form_of_a_signed_kit_is_verified_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kit that somebody changed, with a list that fits it, has no signature that fits."""
    made = make_kit(tmp_path / "made")
    monkeypatch.setattr("balena_migrate.workstation.kit.build.build_kit", lambda _, path, *__: copied(made, path))
    with tempfile.TemporaryDirectory() as folder, gnupg_in(Path(folder, "g")) as gnupg:
        monkeypatch.setenv("GNUPGHOME", str(gnupg.home))
        key = gnupg.make_key("ours")
        words = ["build", "--architecture", "amd64", "--self-extracting", "--sign-with", "ours"]
        done = CliRunner().invoke(kit, [*words, "--output", str(tmp_path)])
        assert done.exit_code == 0, done.exception
        built = tmp_path / "balena-migrate-amd64"
        for form in (built, built.with_suffix(".tar.gz"), built.with_suffix(".run")):
            done = CliRunner().invoke(kit, ["verify", "--key", str(key), str(form)])
            assert f"a key of {key} has signed it" in done.stdout, form
        shutil.copytree(built, tmp_path / "signed")
        shutil.rmtree(built)
        assert CliRunner().invoke(kit, [*words[:-2], "--output", str(tmp_path)]).exit_code == 0
        assert [*tmp_path.glob("balena-migrate-amd64*.sig"), *built.rglob("*.sig")] == [], "none of an earlier kit"
        built = tmp_path / "signed"
        (built / "more/start.py").write_text("evil")
        write_list(built)
        assert "as they were made" in CliRunner().invoke(kit, ["verify", str(built)]).stdout
        done = CliRunner().invoke(kit, ["verify", "--key", str(key), str(built)])
        assert isinstance(done.exception, FileError)
        assert "BAD signature" in done.exception.message


def copied(kit: Kit, path: Path) -> Kit:
    shutil.copytree(kit.path, path, symlinks=True)
    return Kit(path=path, architecture=kit.architecture)
