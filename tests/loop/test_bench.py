# SPDX-License-Identifier: Apache-2.0
"""The bench from end to end, on an image of a few MiB: what it compares is right, and a wrong writer is noticed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from balena_migrate.core.block_map import Range
from balena_migrate.core.errors import LabError
from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.guests.debian_pi import DebianPi
from bench import __main__ as bench
from bench import board
from bench.image import TINY, BenchImage, bench_image
from bench.methods import BMAPTOOL, DD, ETCHER, PREPARED, SHIPPED, Method, Trial, all_methods
from bench.process import run
from bench.target import Kind, Target, open_target
from bench.throttle import Rates

pytestmark = [
    pytest.mark.loop,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop"),
]

NOTHING = Trial(wall_s=1, cpu_s=1, peak_bytes=1, write_s=1)
WAITING = """
import time
from bench.__main__ import end_in_order
from bench.target import open_target
end_in_order()
with open_target(1 << 20, None) as target:
    print(target.file, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> BenchImage:
    return bench_image(tmp_path_factory.mktemp("cache"), TINY)


def loop_devices() -> str:
    return subprocess.run(["losetup", "--list", "--noheadings"], check=True, capture_output=True, text=True).stdout


def only(write: Callable[[Target], None], image: BenchImage, ranges: tuple[Range, ...] | None = None) -> Method:
    """A method that somebody else wrote."""

    def run_it(target: Target) -> Trial:
        write(target)
        return NOTHING

    return Method(name="theirs", write=run_it, ranges=image.used if ranges is None else ranges)


def write_used(image: BenchImage, target: Target) -> None:
    """As a right one does it."""
    with image.raw.open("rb") as source, target.device.open("r+b") as disk:
        for part in image.used:
            source.seek(part.start_bytes)
            disk.seek(part.start_bytes)
            disk.write(source.read(part.size_bytes))


def test_the_image_is_like_balenaos_and_partly_free(image: BenchImage) -> None:
    assert len(image.starts) == 4
    assert image.size_bytes == image.raw.stat().st_size
    assert 0 < image.used_bytes < image.size_bytes
    assert image.packed.stat().st_size < image.used_bytes


def test_all_methods_write_the_image_and_are_compared(
    image: BenchImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    monkeypatch.setattr(bench, "bench_image", lambda cache, contents: image)
    monkeypatch.setattr(sys, "argv", ["bench", "--runs", "1", "--target", "unthrottled", "--json", str(result)])
    assert bench.main() == 0
    found = json.loads(result.read_text())["targets"]["unthrottled"]
    rows = {row["name"]: row for row in found["rows"]}
    assert {DD, BMAPTOOL, f"{BMAPTOOL}, .zst", ETCHER, SHIPPED} <= rows.keys()
    assert rows[DD]["to_dd"] == rows[BMAPTOOL]["to_bmaptool"] == 1
    assert all(row["cpu_s"] and row["peak_mib"] for row in (rows[DD], rows[SHIPPED]))
    assert found["write_mib_s"] > 0
    assert found["read_mib_s"] > 0
    assert found["goals"]
    printed = capsys.readouterr().out
    assert "bmaptool 3." in printed
    assert "zstandard" in " ".join(found["machine"])
    assert all(f"\n{name} " in printed for name in rows)


def test_a_board_is_measured_as_any_target_and_judged_by_its_memory_alone(
    image: BenchImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loop device of this machine takes its place."""
    handed: list[Path] = []

    @contextlib.contextmanager
    def open_board(guest: DebianPi, image: BenchImage, work: Path, cache: Path) -> Iterator[Target]:
        handed.extend(work.iterdir())
        with open_target(image.size_bytes, None) as target:
            yield replace(target, kind=Kind.EMULATED, limit="a card")

    result = tmp_path / "result.json"
    monkeypatch.setattr(bench, "bench_image", lambda cache, contents: image)
    monkeypatch.setattr(board, "open_board", open_board)
    monkeypatch.setattr(board, "PROGRAMS", {})
    monkeypatch.setattr(sys, "argv", ["bench", "--runs", "1", "--board", "raspberrypi3-64", "--json", str(result)])
    assert bench.main() == 0
    assert [path.name for path in handed] == ["handed.json"]
    found = json.loads(result.read_text())["targets"]["raspberrypi3-64"]
    assert {SHIPPED, PREPARED} <= {row["name"] for row in found["rows"]}
    assert [goal["what"].partition(":")[0] for goal in found["goals"]] == [SHIPPED, PREPARED]
    assert all("memory" in goal["what"] for goal in found["goals"])
    assert "target: a card\n" in capsys.readouterr().out


def test_a_method_that_fails_ends_the_bench_with_its_name(
    image: BenchImage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(target: Target) -> Trial:
        target.run([["false"]])
        return NOTHING

    method = Method(name="theirs", write=fail, ranges=())
    monkeypatch.setattr(bench, "bench_image", lambda cache, contents: image)
    monkeypatch.setattr(bench, "all_methods", lambda image, work: [method])
    monkeypatch.setattr(sys, "argv", ["bench", "--target", "unthrottled"])
    assert bench.main() == 3
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == ["run 1 of 3: theirs", "bench: Command '['false']' returned non-zero exit status 1."]


def test_a_right_writer_passes(image: BenchImage) -> None:
    with open_target(image.size_bytes, None) as target:
        bench.measure([only(lambda target: write_used(image, target), image)], image, target, 1)


def test_who_writes_nothing_is_noticed_though_the_one_before_wrote_all(image: BenchImage) -> None:
    methods = [only(lambda target: write_used(image, target), image), only(lambda target: None, image)]
    with open_target(image.size_bytes, None) as target, pytest.raises(SystemExit, match="theirs did not write"):
        bench.measure(methods, image, target, 1)


def test_one_wrong_byte_is_noticed(image: BenchImage) -> None:
    def write(target: Target) -> None:
        write_used(image, target)
        with target.device.open("r+b") as disk:
            disk.seek(image.used[-1].start_bytes)
            disk.write(b"\xa5")

    with open_target(image.size_bytes, None) as target, pytest.raises(SystemExit, match="byte"):
        bench.measure([only(write, image)], image, target, 1)


def test_a_map_that_lacks_what_is_used_is_noticed_by_the_file_systems(image: BenchImage) -> None:
    """Who writes little has little to compare; its map may be wrong."""
    methods = [only(lambda target: None, image, ranges=())]
    with open_target(image.size_bytes, None) as target, pytest.raises(SystemExit, match="damaged file system"):
        bench.measure(methods, image, target, 1)


def test_a_read_back_that_differs_fails(image: BenchImage, tmp_path: Path) -> None:
    """The competitor does compare: here its disk gives more than was written."""
    *_, etcher = (method for method in all_methods(image, tmp_path) if method.name == ETCHER)
    larger = image.size_bytes + 4 * MIB
    with open_target(larger, None) as target, pytest.raises(subprocess.CalledProcessError):
        etcher.write(target)


def test_a_throttled_target_keeps_to_its_rates() -> None:
    with open_target(16 * MIB, Rates(write=20_000_000, read=40_000_000)) as target:
        rates = target.measure()
        buffered = run(
            [["dd", "if=/dev/zero", f"of={target.device}", "bs=1M", "count=16", "conv=fsync", "status=none"]]
        )
    assert target.limit
    assert 0.8 < rates.write / 20_000_000 < 1.2
    assert 0.8 < rates.read / 40_000_000 < 1.2
    assert 0.8 < 16 * MIB / buffered.wall_s / 20_000_000 < 1.2, "through the page cache, too"


def test_a_limit_that_the_kernel_does_not_keep_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Rates(write=200_000_000, read=400_000_000)
    opened: list[Target] = []

    def measure(target: Target) -> Rates:
        opened.append(target)
        return replace(limits, write=9e9)

    monkeypatch.setattr(Target, "measure", measure)
    with pytest.raises(LabError, match="does not keep"), open_target(MIB, limits):
        pass
    assert str(opened[0].file) not in loop_devices()
    assert not opened[0].file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_cleans_up_when_it_is_stopped(number: signal.Signals) -> None:
    """Its file is what is looked for: another test may have the device's name a moment later."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        file = process.stdout.readline().strip()
        assert f"{file} " in loop_devices()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert file not in loop_devices()
    assert not Path(file).exists()
