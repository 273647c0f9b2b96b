# SPDX-License-Identifier: Apache-2.0
"""The bench inside of an emulated board, without the board: what is put into its memory, and how it is talked to."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from balena_migrate.core.errors import LabError
from balena_migrate.core.units import MIB
from balena_migrate.initramfs._cpio import Archive, read_names
from balena_migrate.workstation.kit.assemble import PACKAGE
from balena_migrate.workstation.lab.console import Shell
from balena_migrate.workstation.lab.lookalike.layout import plan_layout
from bench import board
from bench.__main__ import parse_options, refusal
from bench.image import SMALL
from bench.methods import ETCHER_SCRIPT
from bench.process import Runner

LOADER = """#!/bin/sh
printf '%s\\n' "$@"
"""
"""In the place of the kit's: shows what it would start."""


class HereShell(Shell):
    """What a shell on a board would run, is run here; as on a serial line, both outputs arrive as one."""

    def __init__(self) -> None:
        pass

    def run(self, command: str, *, timeout_s: float, ok: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(["sh", "-c", f"{{ {command}; }} 2>&1"], capture_output=True, text=True, timeout=timeout_s)
        if done.returncode not in ok:
            raise LabError(f"ended with status {done.returncode}", hint=done.stdout)
        return done.stdout


@pytest.fixture
def run() -> Runner:
    return board.runner(HereShell())


@pytest.mark.processes
def test_a_pipeline_arrives_on_the_board_as_it_is_and_its_usage_comes_back(run: Runner) -> None:
    usage = run([["printf", "%s", "it's $HOME\n"], ["cat"]])
    assert usage.output == "it's $HOME\n"
    assert usage.wall_s > 0


@pytest.mark.processes
def test_a_script_of_several_lines_goes_over_the_line_as_one(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def keep(shell: Shell, command: str, *, timeout_s: float, ok: tuple[int, ...] = (0,)) -> str:
        sent.append(command)
        return '{"wall_s": 1.0, "cpu_s": 1, "peak_bytes": 1, "output": ""}'

    monkeypatch.setattr(HereShell, "run", keep)
    run([["sh", "-c", ETCHER_SCRIPT, "sh", "/a" * 500, "/dev/mmcblk0"]])
    assert "\n" in ETCHER_SCRIPT
    assert "\n" not in sent[0]
    assert len(sent[0]) < 4000, "a terminal takes 4095 bytes of a line (Linux, N_TTY_BUF_SIZE)"


@pytest.mark.processes
def test_what_a_program_complains_of_is_shown_and_no_part_of_the_result(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([["sh", "-c", "echo one complaint >&2; echo result"]]).output == "result\n"
    assert "one complaint" in capsys.readouterr().err


@pytest.mark.processes
def test_a_program_that_fails_on_the_board_ends_the_bench_with_its_own_words(run: Runner) -> None:
    with pytest.raises(LabError, match="no such image") as caught:
        run([["sh", "-c", "echo no such image >&2; exit 3"]])
    assert "exit status 3" in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.processes
def test_the_kits_python_starts_as_for_stage_2_and_runs_any_program(tmp_path: Path) -> None:
    (tmp_path / "ld.so").write_text(LOADER)
    (tmp_path / "ld.so").chmod(0o755)
    shutil.copy(PACKAGE / "workstation/kit/stage2.sh", tmp_path / "stage2")
    start = tmp_path / "python"
    start.write_text(board.python_start(tmp_path))
    ours, stage2 = (
        subprocess.run(["sh", script, "flash.py"], check=True, capture_output=True, text=True).stdout.splitlines()
        for script in (start, tmp_path / "stage2")
    )
    assert ours[-1] == "flash.py"
    assert [word for word in stage2 if word not in ours] == ["-m", "balena_migrate.stage2.main"]


def test_every_file_has_its_own_path_on_the_board_behind_its_folders(tmp_path: Path) -> None:
    files = [tmp_path / "image" / "bench.img.gz", tmp_path / "handed.json"]
    files[0].parent.mkdir()
    for path in files:
        path.write_text(path.name)
    file = io.BytesIO()
    archive = Archive(file)
    board.add_files(archive, files)
    archive.end()
    names = [Path("/", name) for name in read_names(io.BytesIO(file.getvalue()))]
    assert set(files) <= set(names)
    assert len(names) == len(set(names))
    assert all(path.parent == Path("/") or path.parent in names[: names.index(path)] for path in names)


def test_the_boards_memory_has_the_drivers_and_all_that_methods_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind the drivers takes the place of what they have; the kernel wants it at a multiple of 4 bytes."""
    packages, base, drivers = tmp_path / "packages", tmp_path / "kit/base", tmp_path / "drivers"
    for name in ("bin/dd", "lib/libc.so", "sbin/blockdev", "usr/bin/bmaptool", "dev/zero"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    base.mkdir(parents=True)
    (base / "stage2").touch()
    drivers.write_bytes(gzip.compress(b"drivers").ljust(101, b"\0"))
    monkeypatch.setattr(board, "_packages", lambda architecture, cache: packages)
    monkeypatch.setattr(board, "_kit_base", lambda architecture, work, cache: base)
    board.write_initramfs(tmp_path / "initramfs", drivers, "arm64", [drivers], tmp_path)
    with (tmp_path / "initramfs").open("rb") as file:
        assert file.read(101) == drivers.read_bytes()
        file.seek(104)
        names = {str(name) for name in read_names(file)}
    assert {"init", "bin/dd", "usr/bin/bmaptool", board.PYTHON, str(drivers).lstrip("/")} <= names
    assert "dev/zero" not in names, "to read that would never end"


def test_the_cards_image_has_a_size_that_a_card_can_have() -> None:
    """Who reads back reads the whole card."""
    size_bytes = plan_layout(SMALL.spec).size_bytes
    assert size_bytes == 128 * MIB


def test_a_missing_program_is_named_with_its_package() -> None:
    assert "qemu-of-nobody" in refusal({"no-such-program": "qemu-of-nobody"})


def test_the_board_has_a_target_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--board", "raspberrypi3-64", "--target", "throttled"])
    with pytest.raises(SystemExit, match="2"):
        parse_options()
    assert "not allowed with" in capsys.readouterr().err
