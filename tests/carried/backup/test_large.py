# SPDX-License-Identifier: Apache-2.0
"""A backup that is larger than memory should be: it streams, tells how far it is, and leaves nothing on a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from balena_migrate.core.units import MIB

pytestmark = pytest.mark.processes

BACKUP = """
import sys
from pathlib import Path
from balena_migrate.carried.backup import make_backup, plan_backups
from balena_migrate.settings import Config
from balena_migrate.core.system import System
home, source = sys.argv[1:]
def peak():
    # getrusage() would tell the peak of the process that started this one, too.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0])
def report(done, total):
    told.append((done, total))
    copies.append(sum(path.stat().st_blocks * 512 for path in Path(home).iterdir()))
told, copies = [], []
config = Config(home_dir=home, backup_directories=(source,))
system = System("/")
before = peak()
(plan,) = plan_backups(config, system)
made = make_backup(system, plan, config.in_home("backup.tgz"), report)
assert told == sorted(told) and told[-1][0] <= told[-1][1]
print(before, peak(), made.size_bytes, max(copies), len(told))
"""


@pytest.mark.long
def test_memory_is_flat_and_there_is_one_copy(tmp_path: Path) -> None:
    """96 MiB that do not compress take 16 MiB more than the interpreter with its modules, and their size on the disk.

    BALENA_MIGRATE_LARGE_MIB asks for more.
    """
    size_mib = int(os.environ.get("BALENA_MIGRATE_LARGE_MIB", "96"))
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    home.mkdir()
    with (source / "one").open("wb") as file:
        for _ in range(size_mib - 8):
            file.write(os.urandom(MIB))
    for number in range(8):
        (source / f"small{number}").write_bytes(os.urandom(MIB))
    argv = [sys.executable, "-c", BACKUP, str(home), str(source)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    before_kib, peak_kib, size_bytes, most_bytes, reports = map(int, done.stdout.split())
    print(f"{size_mib} MiB: {before_kib} KiB before, {peak_kib} KiB at most, {reports} reports")
    assert peak_kib - before_kib < 16 * 1024
    assert size_mib * MIB < size_bytes < size_mib * MIB * 1.01
    assert most_bytes < size_bytes + 2 * MIB, "more than one copy lay there at a time"
    assert reports >= size_mib
