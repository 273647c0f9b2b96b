# SPDX-License-Identifier: Apache-2.0
"""The launchers, with a loader that only says how it was called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from balena_migrate.workstation.kit.assemble import PACKAGE
from balena_migrate.workstation.kit.programs import copy_file

pytestmark = pytest.mark.processes

LOADER = '#!/bin/sh\nprintf "%s\\n" "$@" "env $LC_ALL ${LD_PRELOAD-unset} $OPENSSL_CONF $SSL_CERT_FILE"\n'
SHELLS = [("dash",), ("busybox", "sh"), ("bash", "--posix")]


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    if shutil.which(request.param[0]) is None:
        pytest.skip(f"no {request.param[0]} here")
    return list(request.param)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    kit = tmp_path / "a kit"
    (kit / "base").mkdir(parents=True)
    (kit / "base/ld.so").write_text(LOADER)
    (kit / "base/ld.so").chmod(0o755)
    for name in ("balena-migrate", "balena-stage1"):
        copy_file(PACKAGE / "workstation/kit/launcher.sh", kit / name, mode=0o755)
    copy_file(PACKAGE / "workstation/kit/stage2.sh", kit / "base/stage2", mode=0o755)
    return kit


def start(shell: list[str], program: Path | str, *arguments: str, folder: Path | None = None) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "LD_PRELOAD": "", "LC_ALL": "de_DE.ISO-8859-1"}
    argv = [*shell, str(program), *arguments]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    return done.stdout.splitlines()


def expected(kit: Path, name: str, *arguments: str) -> list[str]:
    python = f"{kit}/base/bin/python3"
    return [
        *("--inhibit-cache", "--argv0", python, "--library-path", f"{kit}/base/lib:{kit}/more/lib"),
        *(python, "-I", "-S", "-X", "utf8", f"{kit}/more/start.py", name, *arguments),
        f"env C.UTF-8 unset {kit}/more/ssl/openssl.cnf {kit}/more/ssl/ca-certificates.crt",
    ]


def test_started_by_its_path(shell: list[str], kit: Path) -> None:
    """Arguments arrive as they are, and the kit is named by absolute paths."""
    assert start(shell, kit / "balena-migrate", "a b", "", "$x") == expected(kit, "balena-migrate", "a b", "", "$x")


def test_started_by_relative_paths(shell: list[str], kit: Path) -> None:
    for program, folder in (
        ("balena-stage1", kit),
        ("../balena-stage1", kit / "base"),
        ("a kit/balena-stage1", kit.parent),
    ):
        assert start(shell, program, folder=folder) == expected(kit, "balena-stage1")


def test_started_through_links(shell: list[str], kit: Path, tmp_path: Path) -> None:
    """A chain of an absolute and a relative link leads to the kit, whatever the links are called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/absolute").symlink_to(kit / "balena-migrate")
    (tmp_path / "relative").symlink_to("bin/absolute")
    (tmp_path / "folder").symlink_to(kit)
    for program in (tmp_path / "relative", tmp_path / "bin/absolute", tmp_path / "folder/balena-migrate"):
        assert start(shell, program) == expected(kit, "balena-migrate")
    assert start(shell, "relative", folder=tmp_path) == expected(kit, "balena-migrate")


def test_stage2_uses_the_base_part_alone(shell: list[str], kit: Path) -> None:
    lines = start(shell, kit / "base/stage2", "/root")
    assert lines[:-1] == [
        *("--inhibit-cache", "--argv0", f"{kit}/base/bin/python3", "--library-path", f"{kit}/base/lib"),
        *(f"{kit}/base/bin/python3", "-I", "-S", "-X", "utf8", "-m", "balena_migrate.stage2.main", "/root"),
    ]
    assert lines[-1].startswith("env C.UTF-8 unset ")


DYING = """\
#!/bin/sh
echo started >>"$LOG"
[ "$(wc -l <"$LOG")" -lt {dies} ] || {{ rm -f "$LINE"; exit 7; }}
{how}
"""
"""Stage 2 in a process that dies, until the last one is through."""
KILLED, CRASHED = "kill -9 $$", "exit 1"
BUSYBOX = """\
#!/bin/sh
echo "$@" >>"$LOG"
[ "$1" != reboot ] || kill -9 $PPID
"""


def start_dying(shell: list[str], kit: Path, *, far: str, dies: int, how: str = CRASHED) -> tuple[int, list[str]]:
    """The status of the script, and what was started, where stage 2's process dies this far, so many times."""
    line, log = kit / "line", kit / "log"
    if far:
        line.write_text(f"{far} /dev/sda\n")
    for name, text in (("ld.so", DYING.format(dies=dies, how=how)), ("busybox", BUSYBOX)):
        (kit / "base" / name).write_text(text)
        (kit / "base" / name).chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "LINE": str(line), "LOG": str(log)}
    done = subprocess.run(
        [*shell, str(kit / "base/stage2")], check=False, env=environment, timeout=30, stdout=subprocess.DEVNULL
    )
    return done.returncode, log.read_text().splitlines()


def test_before_the_line_the_status_of_stage2_is_passed_on(shell: list[str], kit: Path) -> None:
    assert start_dying(shell, kit, far="", dies=1) == (7, ["started"])
    assert start_dying(shell, kit, far="", dies=9, how=CRASHED) == (1, ["started"] * 2)


def test_one_that_is_killed_there_is_followed_by_one_only(shell: list[str], kit: Path) -> None:
    assert start_dying(shell, kit, far="", dies=2, how=KILLED) == (7, ["started"] * 2)
    (kit / "log").unlink()
    assert start_dying(shell, kit, far="", dies=9, how=KILLED) == (128 + 9, ["started"] * 2)


def test_in_the_window_stage2_is_started_until_the_disk_boots(shell: list[str], kit: Path) -> None:
    """Each of its lines in the log is one of the starts that are counted, and so are the pauses."""
    status, found = start_dying(shell, kit, far="flash", dies=19)
    assert (status, found[:3], len(found)) == (7, ["started", "sleep 5", "started"], 19)


def test_behind_it_the_device_reboots_after_three_tries(shell: list[str], kit: Path) -> None:
    status, found = start_dying(shell, kit, far="finish", dies=99)
    assert found == ["started", "sleep 5", "started", "sleep 5", "started", "reboot -f"]
    assert status == -9
