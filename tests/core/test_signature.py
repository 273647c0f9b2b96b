# SPDX-License-Identifier: Apache-2.0
"""Signatures, made and checked by GnuPG itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from balena_migrate.core.errors import FileError
from balena_migrate.core.signature import check_signature, sign, signature_of
from balena_migrate.core.system import System
from tests.support.gnupg import Gnupg, gnupg_in

pytestmark = pytest.mark.processes

SYSTEM = System()


@pytest.fixture(scope="module")
def gnupg() -> Iterator[Gnupg]:
    if shutil.which("gpg") is None or shutil.which("gpgv") is None:
        pytest.skip("no GnuPG here")
    with tempfile.TemporaryDirectory() as folder, gnupg_in(Path(folder, "g")) as gnupg:
        yield gnupg


@pytest.fixture(scope="module")
def ours(gnupg: Gnupg) -> Path:
    return gnupg.make_key("ours")


@pytest.fixture(scope="module")
def other(gnupg: Gnupg) -> Path:
    return gnupg.make_key("other")


@pytest.fixture
def signed(gnupg: Gnupg, ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GNUPGHOME", str(gnupg.home))
    file = tmp_path / "list"
    file.write_text("what is signed\n")
    assert sign(SYSTEM, file, "ours") == signature_of(file)
    return file


def test_a_signature_of_one_of_the_keys(signed: Path, ours: Path, other: Path, tmp_path: Path) -> None:
    check_signature(SYSTEM, signed, ours)
    (tmp_path / "both").write_bytes(other.read_bytes() + ours.read_bytes())
    check_signature(SYSTEM, signed, tmp_path / "both")


def test_keys_in_a_file_that_is_named_without_a_folder(
    signed: Path, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gpgv would look for it among its own."""
    monkeypatch.chdir(ours.parent)
    check_signature(SYSTEM, signed, Path(ours.name))


def test_a_signature_of_another_key(signed: Path, other: Path) -> None:
    with pytest.raises(FileError, match=f"its signature is not one of {other}"):
        check_signature(SYSTEM, signed, other)


def test_other_content(signed: Path, ours: Path) -> None:
    signed.write_text("what is not signed\n")
    with pytest.raises(FileError, match=r"or is of other content.*BAD signature"):
        check_signature(SYSTEM, signed, ours)


def test_no_signature(signed: Path, ours: Path) -> None:
    signature_of(signed).unlink()
    with pytest.raises(FileError, match=r"list\.sig: is missing"):
        check_signature(SYSTEM, signed, ours)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"no signature"])
def test_a_signature_that_is_none(signed: Path, ours: Path, content: bytes) -> None:
    signature_of(signed).write_bytes(content)
    with pytest.raises(FileError, match="its signature is not one of"):
        check_signature(SYSTEM, signed, ours)


def test_a_signed_text_is_no_signature_of_another(gnupg: Gnupg, signed: Path, ours: Path, tmp_path: Path) -> None:
    """A message that has its content in itself fits any file's name."""
    (tmp_path / "message").write_text("hello\n")
    signature_of(signed).write_bytes(gnupg.run("--local-user", "ours", "--output", "-", "--sign", tmp_path / "message"))
    with pytest.raises(FileError, match="its signature is not one of"):
        check_signature(SYSTEM, signed, ours)


def test_keys_as_text(gnupg: Gnupg, signed: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.asc").write_bytes(gnupg.run("--armor", "--export", "ours"))
    with pytest.raises(FileError, match=r"as text.*gpg --dearmor"):
        check_signature(SYSTEM, signed, tmp_path / "keys.asc")


def test_signing_with_a_key_that_is_not_there(signed: Path) -> None:
    with pytest.raises(FileError, match=r"gpg cannot sign it with the key nobody: .*list-secret-keys"):
        sign(SYSTEM, signed, "nobody")


def test_a_device_without_gpgv(signed: Path, ours: Path) -> None:
    with pytest.raises(FileError, match=r"there is no gpgv.*apt-get install gpgv"):
        check_signature(System(programs={"gpgv": ("/no/gpgv",)}), signed, ours)
