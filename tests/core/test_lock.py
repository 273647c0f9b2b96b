# SPDX-License-Identifier: Apache-2.0
"""The lock of whoever changes the device."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from balena_migrate.core import lock
from balena_migrate.core.errors import FileError, InProgressError
from balena_migrate.core.lock import Holder, find_holder, locked
from balena_migrate.core.paths import LOCK
from balena_migrate.core.system import System


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "run").mkdir()
    return System(tmp_path)


def test_one_holds_it_and_is_named_and_the_next_one_gets_it_afterwards(system: System) -> None:
    assert find_holder(system) is None
    with locked(system, "run"):
        holder = find_holder(system)
        assert holder is not None
        assert (holder.verb, holder.pid) == ("run", os.getpid())
        with pytest.raises(InProgressError, match=rf"balena-migrate run, process {os.getpid()} since .*Z, changes"):
            locked(system, "undo").__enter__()
    assert find_holder(system) is None
    with locked(system, "undo"):
        assert find_holder(system) is not None


def test_it_is_free_after_an_error(system: System) -> None:
    with pytest.raises(ZeroDivisionError), locked(system, "run"):
        1 // 0  # noqa: B018
    assert find_holder(system) is None


def test_the_file_is_its_owners_alone_and_no_link_is_followed(system: System) -> None:
    """Whoever can open it can lock it."""
    with locked(system, "run"):
        assert system.stat(LOCK).st_mode & 0o777 == 0o600
    system.remove_file(LOCK)
    (system.root / "run/balena-migrate.lock").symlink_to("/etc/passwd")
    (system.root / "etc").mkdir()
    (system.root / "etc/passwd").write_text("root")
    with pytest.raises(FileError), locked(system, "run"):
        pass
    assert (system.root / "etc/passwd").read_text() == "root"


def test_programs_that_we_start_do_not_inherit_it(system: System) -> None:
    with system.open_lock(LOCK) as file:
        assert not os.get_inheritable(file.fileno())


def test_looking_whether_it_is_free_does_not_keep_a_run_from_it(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = system.open_lock(LOCK)
    fcntl.flock(looks, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda _: looks.close())
    with locked(system, "run"):
        pass


def test_who_a_holder_is_may_be_missing(system: System) -> None:
    with system.open_lock(LOCK) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert find_holder(system) == lock.UNKNOWN
        with pytest.raises(InProgressError, match="run or undo") as caught:
            locked(system, "run").__enter__()
        assert caught.value.hint == "wait for its end"


def test_a_longer_name_of_the_one_before_does_not_matter(system: System) -> None:
    (system.root / "run/balena-migrate.lock").write_text("x" * 500)
    with locked(system, "run"):
        assert isinstance(find_holder(system), Holder)
        assert find_holder(system) != lock.UNKNOWN


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_an_error_that_names_the_file(
    system: System, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(FileError, match=rf"balena-migrate\.lock: {os.strerror(number)}"), locked(system, "run"):
        pass


def test_without_a_place_for_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"), locked(System(tmp_path), "run"):
        pass
