# SPDX-License-Identifier: Apache-2.0
"""The default strategy around the flash: what leads back before it, and that nothing but success leads on from it."""

from __future__ import annotations

import contextlib
import errno
import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.block_map import BlockMap
from balena_migrate.core.errors import FlashError
from balena_migrate.core.stage2_result import Stage2Ending, Stage2Result, find_stage2_result, write_stage2_result
from balena_migrate.core.steps import Step
from balena_migrate.core.system import System
from balena_migrate.core.units import MIB
from balena_migrate.images.formats import format_named
from balena_migrate.images.patched_image import PatchedImage
from balena_migrate.images.patches import Patches
from balena_migrate.stage2 import frame, line, oldsystem
from balena_migrate.stage2.console import Console
from balena_migrate.stage2.flash import write_image
from balena_migrate.stage2.frame import CameBackError, Stage2
from balena_migrate.stage2.line import Crossed
from balena_migrate.stage2.strategies import default
from balena_migrate.stage2.target import Disk, open_disk
from tests.support.handover import HANDOVER
from tests.support.kit import make_kit

IMAGE = b"new system " * (3 * MIB // 11)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def goal() -> PatchedImage:
    patches = Patches(size_bytes=len(IMAGE), blocks=())
    return PatchedImage(io.BytesIO(IMAGE), format_named("raw"), len(IMAGE), patches, BlockMap())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"old" * (4 * MIB // 3))
    return path


@pytest.mark.parametrize("error", [FlashError("reads back wrong"), ZeroDivisionError("unforeseen"), MemoryError()])
def test_whatever_ends_the_flash_it_begins_anew_until_the_disk_boots(
    target: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float], error: Exception
) -> None:
    """Far more often than a step that can be left out is tried; nothing else ends it."""
    left = [error] * 40

    def fail(*arguments: object) -> object:
        if left:
            raise left.pop()
        return write_image(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(default, "write_image", fail)
    console = Console(io.StringIO())
    with open_disk(target) as disk:
        default.flash(goal(), disk, console)
    assert target.read_bytes()[: len(IMAGE)] == IMAGE
    assert len(pauses) == 40
    assert sum("try " in line and "the next one comes in" in line for line in console.lines) == 40
    assert "2 MiB written and read back in" in console.lines[-2]


def test_the_flash_says_how_far_it_is(target: Path) -> None:
    console = Console(io.StringIO())
    with open_disk(target) as disk:
        default.flash(goal(), disk, console)
    assert any("flash: 100 % (2 of 2 MiB on the disk, 2 read back)" in line for line in console.lines)


def test_a_disk_that_is_too_small_leads_back_before_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it there would be no end."""
    path = tmp_path / "small"
    path.write_bytes(b"old system")
    kept: list[Stage2Result] = []

    @contextlib.contextmanager
    def nothing(*_: object) -> Iterator[None]:
        yield

    for name in ("mounted_beside", "logging_to_drive"):
        monkeypatch.setattr(oldsystem, name, nothing)
    for name in ("restore_boot", "unmount"):
        monkeypatch.setattr(oldsystem, name, lambda *_: None)
    monkeypatch.setattr(oldsystem, "keep_result", lambda *arguments: kept.append(arguments[4]))
    monkeypatch.setattr(default, "require_same_kit", lambda _: None)
    monkeypatch.setattr(default, "in_memory", nothing)
    monkeypatch.setattr(default, "open_goal", lambda *_: goal())
    monkeypatch.setattr(default, "find_target", lambda *_: str(path))
    monkeypatch.setattr(Disk, "write", lambda *_: pytest.fail("written"))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("tried again"))
    system = System(tmp_path)
    stage2 = Stage2(
        handover=replace(HANDOVER, no_flash=False), machine=system, old=system, console=Console(io.StringIO())
    )
    with pytest.raises(CameBackError, match="has 10 bytes, and the image needs"):
        default.migrate(stage2)
    assert [result.step for result in kept] == [Step.CLAIM]


@pytest.mark.parametrize("failures", [0, 3, 10**6])
def test_the_reason_is_kept_once_the_disk_works_again(
    tmp_path: Path, failures: int, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """Or the old system comes up without it, after a minute of tries."""
    kept: list[Stage2Result] = []

    def keep(*arguments: object) -> None:
        if len(pauses) < failures:
            raise OSError(errno.EIO, "Input/output error")
        kept.append(arguments[4])  # type: ignore[arg-type]

    monkeypatch.setattr(time, "monotonic", lambda: sum(pauses))
    monkeypatch.setattr(oldsystem, "keep_result", keep)
    result = Stage2Result(ending=Stage2Ending.FAILED, step=Step.SECURE, reason="unreadable")
    with pytest.raises(CameBackError, match="unreadable"):
        frame.come_back(behind(tmp_path), result)
    assert kept == ([result] if failures < 10 else [])
    assert sum(pauses) == (5 * failures if failures < 10 else 65)


@pytest.fixture
def behind_the_line(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done behind the line; and how far the note of it is by then."""
    calls: list[str] = []
    monkeypatch.setattr(line, "NOTE", tmp_path / "line")
    monkeypatch.setattr(default, "open_goal", lambda *_: goal())
    monkeypatch.setattr(default, "reread_partitions", lambda path: calls.append(f"reread {path}"))
    monkeypatch.setattr(default, "finish", lambda *_: calls.append(f"finish {line.find()}"))
    return calls


def behind(tmp_path: Path) -> Stage2:
    system = System(tmp_path)
    return Stage2(handover=HANDOVER, machine=system, old=system, console=Console(io.StringIO()))


def test_a_process_that_follows_one_that_died_in_the_window_flashes_anew(
    target: Path, tmp_path: Path, behind_the_line: list[str]
) -> None:
    target.write_bytes(IMAGE[: MIB * 2] + target.read_bytes()[MIB * 2 :])
    default.go_on(behind(tmp_path), Crossed(target=str(target)))
    assert target.read_bytes()[: len(IMAGE)] == IMAGE
    assert behind_the_line == [f"reread {target}", f"finish {Crossed(target=str(target), flashed=True)}"]


def test_it_tries_until_the_disk_can_be_opened(
    target: Path, tmp_path: Path, behind_the_line: list[str], monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    """A reboot would find half a system."""

    def busy(path: Path) -> contextlib.AbstractContextManager[Disk]:
        if len(pauses) < 20:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return open_disk(path)

    monkeypatch.setattr(default, "open_disk", busy)
    default.go_on(behind(tmp_path), Crossed(target=str(target)))
    assert target.read_bytes()[: len(IMAGE)] == IMAGE
    assert len(pauses) == 20 and len(behind_the_line) == 2


def test_one_that_follows_behind_the_flash_leaves_the_disk_alone(
    target: Path, tmp_path: Path, behind_the_line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default, "flash", lambda *_: pytest.fail("flashed"))
    default.go_on(behind(tmp_path), Crossed(target=str(target), flashed=True))
    assert len(behind_the_line) == 2


def test_the_line_is_noted_before_the_first_byte_is_written(
    target: Path, tmp_path: Path, behind_the_line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device whose memory takes no note comes back to its old system."""

    @contextlib.contextmanager
    def nothing(*_: object) -> Iterator[None]:
        yield

    found: list[Crossed | None] = []
    for name in ("mounted_beside", "logging_to_drive"):
        monkeypatch.setattr(oldsystem, name, nothing)
    for name in ("restore_boot", "unmount", "keep_result"):
        monkeypatch.setattr(oldsystem, name, lambda *_: None)
    monkeypatch.setattr(default, "require_same_kit", lambda _: None)
    monkeypatch.setattr(default, "in_memory", nothing)
    monkeypatch.setattr(default, "find_target", lambda *_: str(target))
    monkeypatch.setattr(default, "flash", lambda *_: found.append(line.find()))
    stage2 = replace(behind(tmp_path), handover=replace(HANDOVER, no_flash=False))
    default.migrate(stage2)
    assert found == [Crossed(target=str(target))]
    monkeypatch.setattr(line, "NOTE", tmp_path / "no folder/line")
    with pytest.raises(CameBackError, match="no folder"):
        default.migrate(stage2)
    assert len(found) == 1


@pytest.mark.parametrize("written_by", ["this kit", "another kit", "no kit"])
def test_a_hand_over_of_another_kit_leads_back(
    tmp_path: Path, written_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The boot configuration is restored before, and `status` has the reason."""
    kit = make_kit(tmp_path / "kit")
    identity = {"this kit": kit.identity(), "another kit": make_kit(tmp_path / "b", text="b").identity(), "no kit": ""}
    old = System(tmp_path)

    def secure(*_: object) -> object:
        raise FlashError("the files are secured now")

    restored: list[object] = []
    monkeypatch.setattr(frame, "find_kit", lambda: kit)
    monkeypatch.setattr(oldsystem, "mounted_beside", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(oldsystem, "logging_to_drive", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(oldsystem, "restore_boot", lambda *_: restored.append(_))
    monkeypatch.setattr(oldsystem, "keep_result", lambda *found: write_stage2_result(old, found[4], ""))
    monkeypatch.setattr(default, "in_memory", secure)
    (tmp_path / "var/lib").mkdir(parents=True)
    handover = replace(HANDOVER, no_flash=False, kit=identity[written_by])
    with pytest.raises(CameBackError):
        default.migrate(Stage2(handover=handover, machine=old, old=old, console=Console(io.StringIO())))
    result = find_stage2_result(old)
    assert result and result.step is Step.SECURE and len(restored) == 1
    ours = written_by == "this kit"
    assert ("the files are secured now" in result.reason, "was written by another kit" in result.reason) == (
        ours,
        not ours,
    )
