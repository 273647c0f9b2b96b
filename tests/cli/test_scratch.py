# SPDX-License-Identifier: Apache-2.0
"""What a killed command left in /var/tmp is removed by the next one, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from balena_migrate.cli.scratch import scratch_folder

HOLDS = """
import sys, time
from pathlib import Path
from balena_migrate.cli.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "start").write_bytes(b"a boot partition")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_the_folder_is_ours_alone_and_gone_in_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_what_a_killed_command_left_is_removed_and_what_a_running_one_has_is_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        with scratch_folder(tmp_path):
            assert (theirs / "start").exists()
        process.send_signal(signal.SIGKILL)
    assert (theirs / "start").exists()
    with scratch_folder(tmp_path):
        assert not theirs.exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Names that others chose, links, files, and what another user put there."""
    gone = 4194305  # above the kernel's largest number of a process (proc(5): pid_max)
    (tmp_path / "precious").mkdir()
    (tmp_path / f"balena-migrate-{gone}-link").symlink_to("precious")
    (tmp_path / f"balena-migrate-{gone}-file").touch()
    (tmp_path / "balena-migrate-backup").mkdir()
    (tmp_path / f"balena-migrate-{os.getpid()}-a").mkdir()
    if os.geteuid() == 0:
        (tmp_path / f"balena-migrate-{gone}-b").mkdir()
        os.chown(tmp_path / f"balena-migrate-{gone}-b", 1000, 1000)
    before = sorted(tmp_path.iterdir())
    with scratch_folder(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == before
